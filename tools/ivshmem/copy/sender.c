/* SPDX-License-Identifier: BSD-2-Clause */
#include "sender.h"

#include "sender_state.h"

#include "tell.h"

#include <base/fd.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void
tell(struct sender *sender, const char *sentence)
{
	tell_problem(&sender->options, &sender->totals, &sender->outbox, sentence);
}

/* ---- what the receiver says -------------------------------------------------------------------- */

static int
take_record(struct sender *sender)
{
	const struct tree_record *in = &sender->in;
	/* What is about a file that has ended comes too late to matter. */
	bool current = in->file == sender->number && sender->fd >= 0;

	switch ((unsigned)in->type) {
	case TREE_MARK:
		if (!current || sender->state != ASKING)
			return 0;
		if (in->value <= sender->mark_offset || in->value % SUM_BLOCK != 0)
			return -EPROTO;
		sender->mark_offset = in->value;
		sender->mark = (struct sum_mark){in->numbers[0], in->numbers[1]};
		sender->has_mark = true;
		return 0;
	case TREE_MARKS_END:
		if (current)
			sender->marks_ended = true;
		return 0;
	case TREE_SKIP:
		if (current)
			sender->skip = true;
		return 0;
	case TREE_TAKEN:
		if (in->value < sender->taken || in->value > sender->totals.bytes)
			return -EPROTO;
		sender->taken = in->value;
		return 0;
	case TREE_PROBLEM:
		tell_of_other_side(&sender->options, &sender->totals, in->text);
		return 0;
	case TREE_DONE:
		sender->totals.complete = sender->state == FINISHING;
		sender->totals.files = in->numbers[0];
		sender->totals.bytes = in->value;
		sender->state = ENDED;
		return 0;
	default:
		return -EPROTO;
	}
}

/* Take what the receiver says, until there is no more, or it is a mark that we have to compare. */
static int
listen_to_receiver(struct sender *sender)
{
	sender->heard_all = false;
	for (unsigned i = 0; i < COPY_TURN_STEPS && !sender->has_mark; i++) {
		const void *shared;
		int64_t n = ivshmem_queue_peek(sender->channel, &shared);
		int r;

		sender->heard_all = n == -EAGAIN;
		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		r = tree_read(&sender->in, shared, (size_t)n);
		if (r < 0)
			return r;
		r = ivshmem_queue_release(sender->channel);
		if (r < 0)
			return r;
		r = take_record(sender);
		if (r < 0)
			return r;
		if (sender->state == ENDED)
			break;
	}
	return 0;
}

/* ---- walking ----------------------------------------------------------------------------------- */

static void
say_entry(struct sender *sender, enum tree_record_type type)
{
	const struct walk *walk = &sender->walk;
	struct tree_record record = {
		.type = type,
		.file = sender->number,
		.entry =
			{
				.mode = walk->stat.st_mode & 07777,
				.uid = walk->stat.st_uid,
				.gid = walk->stat.st_gid,
				.seconds = walk->stat.st_mtim.tv_sec,
				.nanoseconds = (uint32_t)walk->stat.st_mtim.tv_nsec,
				.size = type == TREE_FILE ? (uint64_t)walk->stat.st_size : 0,
			},
	};

	memcpy(record.name, walk->name, sizeof(record.name));
	if (type == TREE_LINK)
		memcpy(record.text, walk->target, sizeof(record.text));
	outbox_add(&sender->outbox, &record);
}

static void
begin_file(struct sender *sender)
{
	sender->fd = fd_take(&sender->walk.fd);
	sender->stat = sender->walk.stat;
	sender->number++;
	sender->skip = sender->has_mark = sender->marks_ended = false;
	sender->mark_offset = sender->agreed_offset = 0;
	extents_begin(&sender->extents, sender->fd, &sender->stat, 0);
	sum_begin(&sender->sum, NULL);
	say_entry(sender, TREE_FILE);
	sender->state = sender->options.resume ? ASKING : SENDING;
}

static void
step_walking(struct sender *sender)
{
	enum walk_step step = walk_next(&sender->walk);

	switch (step) {
	case WALK_FOLDER:
		say_entry(sender, TREE_FOLDER);
		break;
	case WALK_UP:
		sender_say(sender, TREE_UP);
		break;
	case WALK_LINK:
		say_entry(sender, TREE_LINK);
		break;
	case WALK_FILE:
		begin_file(sender);
		break;
	case WALK_PROBLEM:
		tell(sender, sender->walk.problem);
		break;
	case WALK_END:
		sender_say(sender, TREE_END);
		sender->state = FINISHING;
		break;
	case WALK_NOTHING:
	default:
		break;
	}
}

static void
step_counting(struct sender *sender)
{
	struct copy_totals *totals = &sender->totals;
	enum walk_step step = walk_next(&sender->walk);

	if (step == WALK_FILE) {
		totals->files_expected++;
		totals->bytes_expected += (uint64_t)sender->walk.stat.st_size;
	}
	if (step != WALK_END)
		return;
	totals->counted = true;
	outbox_add(&sender->outbox, &(struct tree_record){.type = TREE_TOTAL,
					    .value = totals->bytes_expected & INT64_MAX,
					    .numbers = {totals->files_expected}});
	walk_end(&sender->walk);
	walk_begin(&sender->walk, sender->paths, false);
	sender->state = WALKING;
}

/* ---- running ----------------------------------------------------------------------------------- */

/* One step. Returns the bytes that it read, or -EAGAIN: it has to wait; or how the channel ended. */
static int64_t
step(struct sender *sender)
{
	bool waits = false;
	int64_t n = outbox_send(&sender->outbox);

	sender->no_room = n == -EAGAIN;
	if (n < 0)
		return n;
	switch (sender->state) {
	case COUNTING:
		step_counting(sender);
		break;
	case WALKING:
		step_walking(sender);
		break;
	case ASKING:
		if (sender->skip)
			sender_close_file(sender);
		else
			n = (int64_t)sender_step_asking(sender, &waits);
		break;
	case SENDING:
		n = sender_step_sending(sender);
		break;
	case FINISHING:
	case ENDED:
	default:
		waits = true;
		break;
	}
	return waits ? -EAGAIN : n;
}

static int
finish_turn(struct sender *sender, int64_t n)
{
	int r = ivshmem_queue_flush(sender->channel);

	if (n < 0 && n != -EAGAIN)
		r = (int)n;
	/* A receiver that takes nothing more may have said why. */
	if (r == -EPIPE && listen_to_receiver(sender) == 0 && sender->state == ENDED)
		return COPY_ENDED;
	if (r < 0)
		return r;
	return n == -EAGAIN && sender->heard_all ? COPY_WAITS : COPY_RUNS;
}

int
sender_run(struct sender *sender)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < COPY_TURN_STEPS && bytes < COPY_TURN_BYTES; i++) {
		int r = listen_to_receiver(sender);
		int64_t n;

		if (r < 0)
			return r;
		if (sender->state == ENDED)
			return COPY_ENDED;
		n = step(sender);
		if (n < 0)
			return finish_turn(sender, n);
		bytes += (uint64_t)n;
	}
	return finish_turn(sender, 0);
}

int
sender_waits_for(const struct sender *sender)
{
	return IVSHMEM_READABLE | (sender->no_room ? IVSHMEM_WRITABLE : 0);
}

const struct copy_totals *
sender_totals(struct sender *sender)
{
	sender->totals.passed =
		sender->passed_before + (sender->fd >= 0 ? sender->extents.offset : 0);
	return &sender->totals;
}

/* As much of a file as a record may have. */
static size_t
chunk_size(const struct ivshmem_channel *channel, const struct copy_options *options)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	size_t chunk = options->chunk ? options->chunk : CHUNK;

	ivshmem_channel_status(channel, &status);
	return status.max_record < TREE_HEAD + chunk && status.max_record > TREE_HEAD
		       ? (size_t)status.max_record - TREE_HEAD
		       : chunk;
}

struct sender *
sender_new(struct ivshmem_channel *channel, const struct copy_options *options,
	const char *const *paths)
{
	struct sender *sender = calloc(1, sizeof(*sender));

	if (!sender)
		return NULL;
	sender->channel = sender->outbox.channel = channel;
	sender->options = *options;
	sender->paths = paths;
	sender->fd = -1;
	sender->chunk = chunk_size(channel, options);
	/* Loans are longer than the ring allows. */
	sender->buffer = malloc(CHUNK > sender->chunk ? CHUNK : sender->chunk);
	if (!sender->buffer) {
		free(sender);
		return NULL;
	}
	sender->state = options->count ? COUNTING : WALKING;
	walk_begin(&sender->walk, paths, options->count);
	return sender;
}

struct sender *
sender_free(struct sender *sender)
{
	if (sender) {
		walk_end(&sender->walk);
		fd_close(sender->fd);
		free(sender->buffer);
		free(sender);
	}
	return NULL;
}
