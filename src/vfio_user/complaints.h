/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_COMPLAINTS_H
#define VFIO_USER_COMPLAINTS_H

/*
 * Lines that a VMM can cause. It must not be able to fill the log with them, neither by what it
 * sends nor by connecting again and again, so there are few in a while, and then their number.
 */

#include <clock.h>
#include <log.h>

#include <stdint.h>

#define COMPLAINT_LIMIT  20
#define COMPLAINT_PERIOD (60 * NSEC_PER_SEC)

struct complaints {
	const struct log *log;
	enum log_level level; /* of all of them */
	uint64_t since;       /* clock_now() */
	unsigned n;           /* since then */
};

/* A sentence. What in it is not printable, which may come from the VMM, becomes '?'. */
void complain(struct complaints *complaints, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
