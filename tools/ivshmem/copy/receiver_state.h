/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_RECEIVER_STATE_H
#define IVSHMEM_COPY_RECEIVER_STATE_H

/* The inside of a receiver: receiver.c takes records, receiver_file.c writes files. */

#include "copy.h"
#include "extents.h"
#include "part.h"
#include "place.h"
#include "sum.h"
#include "tree.h"

#define BUFFER 65536

enum receiver_state { IDLE, SCANNING, AWAITING, RECEIVING, REFUSING, ENDED };

struct receiver {
	struct ivshmem_channel *channel;
	struct copy_options options;
	enum receiver_state state;
	struct copy_totals totals;
	struct place place;

	/* The file. */
	uint32_t number;
	struct tree_entry entry;
	struct part part;
	uint64_t offset;        /* the next byte that comes */
	uint64_t passed_before; /* bytes of files before it */
	struct sum sum;

	/* What we have of it. */
	struct extents extents;
	uint64_t mark_step, marks_end;
	uint64_t told; /* the last mark */

	uint64_t taken, taken_told; /* bytes of records, wanted or not */

	struct outbox outbox;
	bool no_room;
	struct tree_record in;
	uint8_t buffer[BUFFER];
};

/* "`what` 'PATH': WHY", or without `what`, "'PATH' WHY": where we are. */
void receiver_tell(struct receiver *receiver, const char *what, const char *why);
/* What an errno means here. */
const char *receiver_explain(int error);

/* What the record says, which is in receiver->in. 0 or -EPROTO. */
int receiver_begin_file(struct receiver *receiver);
int receiver_take_piece(struct receiver *receiver); /* data or a hole */
int receiver_end_file(struct receiver *receiver);
int receiver_go_on(struct receiver *receiver); /* from a mark */

/* SCANNING: read a piece of what we have. Returns how many bytes. */
uint64_t receiver_scan(struct receiver *receiver);

#endif
