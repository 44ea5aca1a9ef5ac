/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_FINDING_H
#define DOCTOR_FINDING_H

/*
 * What the doctor finds, and telling it. docs/troubleshooting.md has the same list, which a test compares
 * with the calls and with the tests.
 */

#include "context.h"

struct finding {
	const char *id; /* TOPIC.WHAT; it stays the same for ever, for scripts */
	enum severity severity;
	const char *what; /* half a line, for the list */
	const char *why;  /* why it matters; NULL if nothing is wrong */
};

extern const struct finding findings[];
extern const size_t n_findings;

/* Say what mends the next finding: a command if there is one. */
void mend(struct doctor *doctor, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tell of one of these findings, about doctor->subject, in a sentence without full stop. */
void found(struct doctor *doctor, const char *id, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The "s" behind a noun, or "". */
const char *plural(uint64_t n);

/* Print all findings that there are (--list). */
void findings_list(const struct doctor *doctor);

#endif
