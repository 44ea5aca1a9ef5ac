/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_SENDER_STATE_H
#define IVSHMEM_COPY_SENDER_STATE_H

/* The inside of a sender: sender.c walks and talks, sender_file.c reads files. */

#include "copy.h"
#include "extents.h"
#include "sum.h"
#include "tree.h"
#include "walk.h"

/* The most of a file in a record. */
#define CHUNK 131072

enum sender_state { COUNTING, WALKING, ASKING, SENDING, FINISHING, ENDED };

struct sender {
	struct ivshmem_channel *channel;
	struct copy_options options;
	const char *const *paths;
	enum sender_state state;
	struct walk walk;
	struct copy_totals totals;
	size_t chunk;
	uint64_t taken; /* by the receiver, of totals.bytes */
	bool no_room;   /* we wait for room */
	bool heard_all; /* the receiver had nothing more to say */

	/* The file. */
	uint32_t number;
	int fd;
	struct stat stat; /* when it was opened */
	struct extents extents;
	struct sum sum;
	bool skip;              /* the receiver does not want it */
	uint64_t passed_before; /* bytes of files before it */

	/* ASKING: how far the receiver says that it is, and how far we agree. */
	bool has_mark, marks_ended;
	uint64_t mark_offset, agreed_offset;
	struct sum_mark mark, agreed;

	struct outbox outbox;
	struct tree_record in; /* what the receiver said last */
	uint8_t *buffer;       /* of one chunk, for memory where no system call works */
};

void sender_say(struct sender *sender, enum tree_record_type type);
void sender_close_file(struct sender *sender);

/* ASKING: returns the bytes that were read, or 0. `*ret_waits`: the receiver has to say something. */
uint64_t sender_step_asking(struct sender *sender, bool *ret_waits);

/* SENDING: returns the bytes that were sent, or -EAGAIN, or how the channel ended. */
int64_t sender_step_sending(struct sender *sender);

#endif
