/* SPDX-License-Identifier: BSD-2-Clause */
#include "receiver.h"

#include "receiver_state.h"

#include "tell.h"

#include <base/error.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* When so much was taken since we said so last, we say it again. */
#define TAKEN_STEP 131072

static void
end(struct receiver *receiver)
{
	outbox_add(&receiver->outbox, &(struct tree_record){.type = TREE_DONE,
					      .value = receiver->totals.bytes & INT64_MAX,
					      .numbers = {receiver->totals.files}});
	receiver->state = ENDED;
}

/* ---- records ----------------------------------------------------------------------------------- */

static int
take_link(struct receiver *receiver)
{
	char name[NAME_MAX + 1];
	int r;

	if (receiver->place.skipped > 0)
		return 0;
	memcpy(name, receiver->in.name, sizeof(name));
	r = place_name(&receiver->place, name);
	if (r < 0)
		return r;
	r = part_link(place_folder(&receiver->place), name, receiver->in.text, &receiver->in.entry,
		receiver->options.owner);
	if (r < 0)
		receiver_tell(receiver, "cannot make the symbolic link", receiver_explain(-r));
	return 0;
}

static int
take_folder(struct receiver *receiver)
{
	int r = place_enter(&receiver->place, &receiver->in);

	if (r == -EPROTO)
		return r;
	if (r < 0)
		receiver_tell(receiver, "cannot make the folder", receiver_explain(-r));
	return 0;
}

static int
take_up(struct receiver *receiver)
{
	char path[PATH_MAX];
	int problem, r;

	memcpy(path, receiver->place.path, sizeof(path));
	r = place_up(&receiver->place, receiver->options.owner, &problem);
	if (r == 0 && problem > 0)
		tell_file_problem(&receiver->options, &receiver->totals, &receiver->outbox,
			"cannot set mode and time of", path, strerror(problem));
	return r;
}

/* What is not about a file under way. */
static int
take_entry(struct receiver *receiver)
{
	struct copy_totals *totals = &receiver->totals;

	if (receiver->state != IDLE && receiver->state != REFUSING)
		return -EPROTO;
	receiver->state = IDLE;
	switch ((unsigned)receiver->in.type) {
	case TREE_TOTAL:
		totals->counted = true;
		totals->bytes_expected = receiver->in.value;
		totals->files_expected = receiver->in.numbers[0];
		return 0;
	case TREE_FOLDER:
		return take_folder(receiver);
	case TREE_UP:
		return take_up(receiver);
	case TREE_LINK:
		return take_link(receiver);
	case TREE_FILE:
		return receiver_begin_file(receiver);
	case TREE_END:
		if (receiver->place.n != 1 || receiver->place.skipped > 0)
			return -EPROTO;
		totals->complete = true;
		end(receiver);
		return 0;
	default:
		return -EPROTO;
	}
}

/* The sender lends us its memory, and waits until it is free again. */
static void
say_taken(struct receiver *receiver, size_t length)
{
	receiver->taken += length;
	if (receiver->taken - receiver->taken_told < TAKEN_STEP)
		return;
	receiver->taken_told = receiver->taken;
	outbox_add(&receiver->outbox,
		&(struct tree_record){.type = TREE_TAKEN, .value = receiver->taken & INT64_MAX});
}

static int
take_of_file(struct receiver *receiver)
{
	enum receiver_state state = receiver->state;
	enum tree_record_type type = receiver->in.type;

	if (state == IDLE || receiver->in.file != receiver->number)
		return -EPROTO;
	if (type == TREE_DATA)
		say_taken(receiver, receiver->in.length);
	if (state == REFUSING)
		return 0;
	if (type == TREE_GIVE_UP) {
		part_remove(&receiver->part);
		receiver->state = IDLE;
		return 0;
	}
	if ((type == TREE_RESUME) != (state == SCANNING || state == AWAITING))
		return -EPROTO;
	if (type == TREE_RESUME)
		return receiver_go_on(receiver);
	return type == TREE_FILE_END ? receiver_end_file(receiver) : receiver_take_piece(receiver);
}

static int
take_record(struct receiver *receiver)
{
	switch ((unsigned)receiver->in.type) {
	case TREE_DATA:
	case TREE_HOLE:
	case TREE_RESUME:
	case TREE_FILE_END:
	case TREE_GIVE_UP:
		return take_of_file(receiver);
	case TREE_PROBLEM:
		tell_of_other_side(&receiver->options, &receiver->totals, receiver->in.text);
		return 0;
	case TREE_TOTAL:
	case TREE_FOLDER:
	case TREE_UP:
	case TREE_LINK:
	case TREE_FILE:
	case TREE_END:
		return take_entry(receiver);
	default:
		return -EPROTO;
	}
}

/* ---- running ----------------------------------------------------------------------------------- */

/* One step. Returns how many bytes it took, or -EAGAIN: it has to wait; or how the channel ended. */
static int64_t
step(struct receiver *receiver)
{
	const void *shared;
	int64_t n = outbox_send(&receiver->outbox);
	int r;

	receiver->no_room = n == -EAGAIN;
	if (n < 0 || receiver->state == ENDED)
		return n;
	n = ivshmem_queue_peek(receiver->channel, &shared);
	if (n == -EAGAIN && receiver->state == SCANNING)
		return (int64_t)receiver_scan(receiver);
	if (n < 0)
		return n;
	r = tree_read(&receiver->in, shared, (size_t)n);
	if (r == 0)
		r = take_record(receiver);
	if (r < 0)
		return r;
	r = ivshmem_queue_release(receiver->channel);
	return r < 0 ? r : n;
}

int
receiver_run(struct receiver *receiver)
{
	uint64_t bytes = 0;
	bool ended = false;
	int64_t n = 0;
	int r;

	for (unsigned i = 0; i < COPY_TURN_STEPS && bytes < COPY_TURN_BYTES && !ended; i++) {
		n = step(receiver);
		if (n < 0)
			break;
		bytes += (uint64_t)n;
		ended = receiver->state == ENDED && receiver->outbox.n == 0;
	}
	if (n < 0 && n != -EAGAIN)
		return (int)n;
	r = ivshmem_queue_flush(receiver->channel);
	if (r < 0)
		return r;
	if (ended)
		return COPY_ENDED;
	return n == -EAGAIN ? COPY_WAITS : COPY_RUNS;
}

int
receiver_waits_for(const struct receiver *receiver)
{
	return receiver->no_room ? IVSHMEM_WRITABLE : IVSHMEM_READABLE;
}

const struct copy_totals *
receiver_totals(struct receiver *receiver)
{
	receiver->totals.passed = receiver->passed_before + receiver->offset;
	return &receiver->totals;
}

static void
begin(struct receiver *receiver, const char *to)
{
	struct ivshmem_error error;
	int r = 0;

	if (receiver->options.owner && geteuid() != 0)
		r = error_set(&error, -EPERM,
			"cannot keep owners: the receiver is not root; leave out --owner");
	if (r == 0)
		r = place_open(&receiver->place, to, receiver->options.many, &error);
	if (r < 0) {
		tell_problem(
			&receiver->options, &receiver->totals, &receiver->outbox, error.message);
		end(receiver);
	}
}

struct receiver *
receiver_new(struct ivshmem_channel *channel, const struct copy_options *options, const char *to)
{
	struct receiver *receiver = calloc(1, sizeof(*receiver));

	if (!receiver)
		return NULL;
	receiver->channel = receiver->outbox.channel = channel;
	receiver->options = *options;
	receiver->part.fd = -1;
	begin(receiver, to);
	return receiver;
}

struct receiver *
receiver_free(struct receiver *receiver)
{
	if (receiver) {
		part_leave(&receiver->part);
		place_close(&receiver->place);
		free(receiver);
	}
	return NULL;
}
