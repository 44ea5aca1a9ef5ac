/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_SENDER_H
#define IVSHMEM_COPY_SENDER_H

/*
 * The end of a copy that reads files.
 *
 * Theory of operation. sender_run() does a piece of work of limited size, and never waits: when the
 * channel has no room, or the receiver has yet to answer, it says so, and goes on with the next call.
 * Each step sends what waits in the outbox, takes all that the receiver says, and then does what its
 * state says. Because the sender always takes what the receiver says before it needs room itself, the
 * two cannot wait for each other.
 *
 *	COUNTING	walks without opening files, if the total is wanted
 *	WALKING		each step sends an entry
 *	ASKING		to resume, the receiver says after each file what it has of it, as marks: so
 *			many bytes have this sum. We read our file up to each mark. Where the sums are
 *			the same, we can go on from there; where they are not, or there are no more
 *			marks, we say from which mark we go on
 *	SENDING		each step reads a piece of a file into the ring, or tells of a hole. At its
 *			end, the checksum follows, if the file is still what it was when it was
 *			opened; else the receiver forgets it
 *	FINISHING	everything was sent. The receiver says when all files have their names
 *
 * What is longer than the ring allows is lent: it lies in our area beside the ring. That is faster than
 * through a large ring, and an agent has a ring for each of its callers. The receiver says how much it
 * has taken, and we lend 512 KiB at a time, so that there is room for others. If there is no
 * room at all, shorter pieces go through the ring.
 *
 * The receiver can refuse a file at any time, and ends everything by saying that it is done too early.
 */

#include "copy.h"

struct ivshmem_channel;
struct sender;

/* Both borrow the channel. `paths`, with a NULL at the end, is borrowed, too. NULL: no memory. */
struct sender *sender_new(struct ivshmem_channel *channel, const struct copy_options *options,
	const char *const *paths);

/* A copy_state, or how the channel ended; -EPROTO also if the receiver says what makes no sense. */
int sender_run(struct sender *sender);

/* What sender_run() waits for: IVSHMEM_READABLE, IVSHMEM_WRITABLE, or both. */
int sender_waits_for(const struct sender *sender);

const struct copy_totals *sender_totals(struct sender *sender);

/* NULL is allowed; returns NULL. */
struct sender *sender_free(struct sender *sender);

#endif
