/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_RINGER_H
#define BASE_RINGER_H

/*
 * Rings eventfds of others who are not trusted, and never blocks.
 *
 * A write to an eventfd blocks if its counter is full and O_NONBLOCK is off. Anybody who holds the
 * eventfd can bring both about. eventfd_ring() looks first, but that leaves a moment in which it
 * can still happen, and an attacker who tries often enough succeeds. The kernel itself signals
 * eventfds without ever waiting. It does so for an asynchronous request that is complete at once
 * and names the eventfd as the one to signal.
 *
 * The first ring makes the context for such requests, because to give it back takes the kernel some
 * tens of milliseconds, and many programs never ring. The one descriptor is there from the start, so
 * that a ring opens none.
 *
 * One thread at a time. If the kernel has no such requests (before 4.18, or forbidden), this is
 * eventfd_ring() after all.
 */

#include <stdbool.h>

struct ringer {
	bool prepared;
	unsigned long context;                  /* of io_setup(); 0: none */
	struct ringer_completions *completions; /* where the context points */
	int ready;                              /* an eventfd that is always writable; -1: none */
};

void ringer_init(struct ringer *ringer);
/* Do now what the first ring would do: for a guest that waits for it. */
void ringer_prepare(struct ringer *ringer);
void ringer_done(struct ringer *ringer);

/* Add 1. A full counter is success, because it rings already. 0 or a negative errno. */
int ringer_ring(struct ringer *ringer, int fd);

#endif
