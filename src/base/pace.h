/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_PACE_H
#define BASE_PACE_H

/*
 * Log lines that the other side can cause: a client, a VMM, a server. It must not be able to fill
 * the disk with them. So a pace writes a few lines in a while, and then the number of those that it
 * left out. A client that connects again and again must find the same pace; so the pace belongs to
 * the side that is connected to.
 */

#include <base/log.h>

#include <stdint.h>

#define PACE_LINES 20
#define PACE_WHILE UINT64_C(10000000000) /* 10 s, in nanoseconds */

struct pace {
	const struct log *log;
	enum log_level level; /* of all its lines */
	uint64_t since;       /* clock_now() */
	unsigned n;           /* lines since then, with those left out */
};

/*
 * Write a sentence. Characters that are not printable, which may come from the other side, become
 * '?'. Preserves errno.
 */
void pace_printf(struct pace *pace, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* At the end of it all: say how many lines were left out. */
void pace_end(struct pace *pace);

#endif
