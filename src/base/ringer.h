/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_RINGER_H
#define BASE_RINGER_H

/*
 * Rings eventfds of others who are not trusted, and never blocks.
 *
 * A write to an eventfd blocks if its counter is full and O_NONBLOCK is off, both of which anybody
 * who holds it can bring about; looking first (eventfd_ring()) leaves a moment in which it can still
 * happen, and who tries often enough succeeds. The kernel itself signals eventfds without ever
 * waiting, and one way to have it do so is an asynchronous request that is complete at once, with
 * the eventfd as the one to be told.
 *
 * One thread at a time. If the kernel has no such requests (before 4.18, or forbidden), it is
 * eventfd_ring() after all.
 */

struct ringer {
	unsigned long context;                  /* of io_setup(); 0: none */
	struct ringer_completions *completions; /* what the context is the address of */
	int ready; /* an eventfd that can always be written to; -1: none */
};

void ringer_init(struct ringer *ringer);
void ringer_done(struct ringer *ringer);

/* Add 1. A full counter rings already: that is success. 0 or a negative errno. */
int ringer_ring(const struct ringer *ringer, int fd);

#endif
