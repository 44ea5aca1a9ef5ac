/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_COPY_ROOM_H
#define UNIT_COPY_ROOM_H

/*
 * A sender and a receiver at the two ends of a queue, in one process, which take turns; and the
 * test's own folder, with from/ and to/ in it, which is the working folder.
 */

#include <channel_room.h>

#include <copy/receiver.h>
#include <copy/sender.h>
#include <copy/tree.h>

#include <test.h>

struct copy_room {
	struct room memory;
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *out, *in; /* of the sender, of the receiver */
	struct sender *sender;
	struct receiver *receiver;
	char told[8192]; /* problems, each with a newline */
};

void copy_room_open(struct copy_room *room);
void copy_room_close(struct copy_room *room);

/* A queue with rings of this size. */
void copy_connect(struct copy_room *room, uint64_t ring_size);
void copy_disconnect(struct copy_room *room);

/* What is copied. */
#define FROM(...) ((const char *[]){__VA_ARGS__, NULL})

/* Problems of the receiver are told to `told`; those of the sender come through the queue. */
void copy_start(struct copy_room *room, const struct copy_options *options, const char *const *from,
	const char *to);

/* Both take turns until both have ended. */
void copy_finish(struct copy_room *room);

/* All in one. Returns the totals of the receiver. */
struct copy_totals copy_all(struct copy_room *room, const struct copy_options *options,
	const char *const *from, const char *to);

/* A shell command that must succeed. */
void shell(const char *command);

/* Both trees have the same content, kinds, modes, times and links. */
void check_same(const char *a, const char *b);

#endif
