/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_FINDINGS_H
#define DOCTOR_FINDINGS_H

/* Everything that the doctor can find. docs/troubleshooting.md has the same list, which a test compares. */

#include "doctor.h"

struct finding {
	const char *id; /* TOPIC.WHAT; it stays the same for ever, for scripts */
	enum severity severity;
	const char *what; /* half a line, for the list */
	const char *why;  /* why it matters; NULL if nothing is wrong */
};

extern const struct finding findings[];
extern const size_t n_findings;

#endif
