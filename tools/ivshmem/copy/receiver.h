/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_RECEIVER_H
#define IVSHMEM_COPY_RECEIVER_H

/*
 * The end of a copy that writes files.
 *
 * Theory of operation. receiver_run() does a piece of work of limited size, and never waits. Each step
 * sends what waits in the outbox, and then takes a record:
 *
 *	IDLE		between files: entries come, and the way up from folders
 *	SCANNING	to resume: we read what we have of the file, and tell the sender of its sum
 *			at marks. The sender says from which one it goes on, perhaps before we have
 *			read all
 *	AWAITING	to resume: we have told all that we have
 *	RECEIVING	data and holes come without gaps. At the end, if the checksum is right, the
 *			file gets its name (part.h)
 *	REFUSING	we do not want the rest of this file, and have said so; some of it is under way
 *	ENDED
 *
 * The sender is hostile. What makes no sense ends the copy. Names are checked (tree.h), and lead
 * nowhere else (place.h). Nothing is allocated for what the sender says. Data is written right out of
 * the shared memory, where it may still change; the sender could as well have sent something else.
 */

#include "copy.h"

struct ivshmem_channel;
struct receiver;

/* `to` is copied, the channel borrowed. NULL: no memory. A `to` that cannot be used is a problem that is
 * told when it runs. */
struct receiver *receiver_new(
	struct ivshmem_channel *channel, const struct copy_options *options, const char *to);

/* A copy_state, or how the channel ended; -EPROTO also if the sender says what makes no sense. */
int receiver_run(struct receiver *receiver);

/* What receiver_run() waits for. */
int receiver_waits_for(const struct receiver *receiver);

const struct copy_totals *receiver_totals(struct receiver *receiver);

/* NULL is allowed; returns NULL. What is not complete stays as a part file. */
struct receiver *receiver_free(struct receiver *receiver);

#endif
