/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_PACE_H
#define BASE_PACE_H

/*
 * Lines that somebody on the other side can cause: a client, a VMM, a server. It must not be able to
 * fill the disk with them, so there are few in a while, and then their number. One that connects again
 * and again must find the same pace as before: it belongs to what is connected to.
 */

#include <base/log.h>

#include <stdint.h>

#define PACE_LINES 20
#define PACE_WHILE UINT64_C(10000000000) /* 10 s, in nanoseconds */

struct pace {
	const struct log *log;
	enum log_level level; /* of all its lines */
	uint64_t since;       /* clock_now() */
	unsigned n;           /* lines since then, with those that were left out */
};

/*
 * A sentence. What in it is not printable, which may come from the other side, becomes '?'. Preserves
 * errno.
 */
void pace_printf(struct pace *pace, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Say how many lines were left out, at the end of it all. */
void pace_end(struct pace *pace);

#endif
