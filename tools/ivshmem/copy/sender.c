/* SPDX-License-Identifier: BSD-2-Clause */
#include "sender.h"

#include "extents.h"
#include "sum.h"
#include "tell.h"
#include "tree.h"
#include "walk.h"

#include <base/fd.h>
#include <base/words.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 131072
/* So much is lent at a time. */
#define LENT_MAX (4 * CHUNK)
/* A record of at least so many bytes is worth waking the receiver. */
#define WORTH_WAKING 16384

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

static void
tell(struct sender *sender, const char *sentence)
{
	tell_problem(&sender->options, &sender->totals, &sender->outbox, sentence);
}

static void
tell_errno(struct sender *sender, int error)
{
	tell_file_problem(&sender->options, &sender->totals, &sender->outbox, "cannot read",
		sender->walk.path, strerror(error));
}

static void
say(struct sender *sender, enum tree_record_type type)
{
	struct tree_record record = {.type = type, .file = sender->number};

	outbox_add(&sender->outbox, &record);
}

static void
close_file(struct sender *sender)
{
	sender->passed_before += (uint64_t)sender->stat.st_size;
	sender->fd = fd_close(sender->fd);
	sender->state = WALKING;
}

/* The receiver is to forget the file. */
static void
give_up(struct sender *sender)
{
	say(sender, TREE_GIVE_UP);
	close_file(sender);
}

/* ---- what the receiver says -------------------------------------------------------------------- */

static int
take_record(struct sender *sender)
{
	const struct tree_record *in = &sender->in;
	/* What is about a file that has ended comes too late to matter. */
	bool current = in->file == sender->number && sender->fd >= 0;

	switch (in->type) {
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
	case TREE_TOTAL:
	case TREE_FOLDER:
	case TREE_UP:
	case TREE_LINK:
	case TREE_FILE:
	case TREE_DATA:
	case TREE_HOLE:
	case TREE_RESUME:
	case TREE_FILE_END:
	case TREE_GIVE_UP:
	case TREE_END:
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
		say(sender, TREE_UP);
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
		say(sender, TREE_END);
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

/* ---- resuming ---------------------------------------------------------------------------------- */

/* Read a piece of what lies before the mark. 0: the file ends before it; or a negative errno. */
static int64_t
read_towards_mark(struct sender *sender)
{
	struct extents *extents = &sender->extents;
	uint64_t left = sender->mark_offset - extents->offset;
	bool hole;
	uint64_t length = extents_next(extents, &hole);
	ssize_t n;

	length = length < left ? length : left;
	if (length == 0)
		return 0;
	if (hole) {
		sum_zeros(&sender->sum, length);
		extents->offset += length;
		return (int64_t)length;
	}
	length = length < sender->chunk ? length : sender->chunk;
	n = pread(sender->fd, sender->buffer, (size_t)length, (off_t)extents->offset);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	sum_bytes(&sender->sum, sender->buffer, (size_t)n);
	extents->offset += (uint64_t)n;
	return n;
}

static void
resume(struct sender *sender)
{
	outbox_add(&sender->outbox,
		&(struct tree_record){.type = TREE_RESUME,
			.file = sender->number,
			.value = sender->agreed_offset,
			.numbers = {sender->agreed.mixed, sender->agreed.zero_blocks}});
	extents_begin(&sender->extents, sender->fd, &sender->stat, sender->agreed_offset);
	sum_begin(&sender->sum, sender->agreed_offset > 0 ? &sender->agreed : NULL);
	sender->has_mark = false;
	sender->state = SENDING;
}

/* Returns the bytes that were read, or 0. */
static uint64_t
step_asking(struct sender *sender, bool *ret_waits)
{
	int64_t n;

	if (!sender->has_mark) {
		*ret_waits = !sender->marks_ended;
		if (sender->marks_ended)
			resume(sender);
		return 0;
	}
	if (sender->extents.offset < sender->mark_offset) {
		n = read_towards_mark(sender);
		/* What we cannot read here fails again where it is told. */
		if (n <= 0)
			resume(sender);
		return n > 0 ? (uint64_t)n : 0;
	}
	if (sender->sum.mark.mixed != sender->mark.mixed ||
		sender->sum.mark.zero_blocks != sender->mark.zero_blocks) {
		resume(sender);
		return 0;
	}
	sender->agreed_offset = sender->mark_offset;
	sender->agreed = sender->mark;
	sender->has_mark = false;
	return 0;
}

/* ---- sending a file ---------------------------------------------------------------------------- */

/* Whether the file is not any more what it was when it was opened. */
static bool
has_changed(const struct sender *sender)
{
	const struct stat *before = &sender->stat;
	struct stat now;

	if (fstat(sender->fd, &now) < 0)
		return true;
	/* Those of /proc say that they are empty, and their times mean nothing. */
	if (before->st_size == 0 && now.st_size == 0)
		return false;
	return before->st_size != now.st_size || before->st_mtim.tv_sec != now.st_mtim.tv_sec ||
	       before->st_mtim.tv_nsec != now.st_mtim.tv_nsec;
}

static void
end_file(struct sender *sender)
{
	uint64_t size = sender->extents.offset;

	if (has_changed(sender) ||
		(sender->stat.st_size > 0 && (uint64_t)sender->stat.st_size != size)) {
		tell_file_problem(&sender->options, &sender->totals, &sender->outbox, NULL,
			sender->walk.path,
			"changed while it was read, and was left out; copy it when nobody writes to it");
		give_up(sender);
		return;
	}
	outbox_add(&sender->outbox, &(struct tree_record){.type = TREE_FILE_END,
					    .file = sender->number,
					    .value = size,
					    .numbers = {sum_end(&sender->sum)}});
	close_file(sender);
}

static void
send_hole(struct sender *sender, uint64_t length)
{
	outbox_add(&sender->outbox, &(struct tree_record){.type = TREE_HOLE,
					    .file = sender->number,
					    .value = sender->extents.offset,
					    .numbers = {length}});
	sum_zeros(&sender->sum, length);
	sender->extents.offset += length;
}

/* A place in the shared memory for a record that is being made. */
struct draft {
	uint8_t *place;
	bool lent;
	size_t room; /* for bytes of a file */
};

/* 0, -EAGAIN, or how the channel ended. */
static int
begin_draft(struct sender *sender, struct draft *draft, uint64_t length)
{
	size_t most = sender->options.chunk ? sender->chunk : CHUNK;
	size_t wanted = length < most ? (size_t)length : most;
	void *place;
	int r;

	draft->lent = wanted > sender->chunk;
	if (draft->lent && sender->totals.bytes - sender->taken >= LENT_MAX) {
		sender->no_room = false;
		return -EAGAIN;
	}
	draft->room = draft->lent ? wanted : wanted < sender->chunk ? wanted : sender->chunk;
	r = draft->lent ? ivshmem_loan_take(sender->channel, TREE_HEAD + draft->room, &place)
			: -ENOSPC;
	/* There is no room for loans, because others have it. */
	if (r == -ENOSPC) {
		draft->lent = false;
		draft->room = wanted < sender->chunk ? wanted : sender->chunk;
		r = ivshmem_queue_reserve(sender->channel, TREE_HEAD + draft->room, &place);
	}
	sender->no_room = r == -EAGAIN;
	if (r == 0)
		draft->place = place;
	return r;
}

/* Send it, if it has become longer than 0. */
static int
end_draft(struct sender *sender, const struct draft *draft, size_t length)
{
	int r;

	if (draft->lent && length > 0)
		r = ivshmem_loan_send(sender->channel, draft->place, TREE_HEAD + length);
	else if (length > 0)
		r = ivshmem_queue_commit(sender->channel, TREE_HEAD + length);
	else
		r = 0;
	if (draft->lent && (length == 0 || r == -EAGAIN))
		ivshmem_loan_drop(sender->channel, draft->place);
	if (r == 0 && length >= WORTH_WAKING)
		r = ivshmem_queue_flush(sender->channel);
	sender->no_room = r == -EAGAIN;
	return r;
}

/* Read a piece of the file into the shared memory. Returns how many bytes, 0 at its end, -EAGAIN, how
 * the channel ended; `*ret_error`: why the file cannot be read. */
static int64_t
send_data(struct sender *sender, uint64_t length, int *ret_error)
{
	uint64_t offset = sender->extents.offset;
	struct sum before = sender->sum;
	struct draft draft = {.place = NULL};
	uint8_t *bytes;
	ssize_t n;
	int r = begin_draft(sender, &draft, length);

	if (r != 0)
		return r;
	bytes = sender->options.uncached ? sender->buffer : draft.place + TREE_HEAD;
	do
		n = pread(sender->fd, bytes, draft.room, (off_t)offset);
	while (n < 0 && errno == EINTR);
	*ret_error = n < 0 ? errno : 0;
	n = n < 0 ? 0 : n;
	tree_write_data(draft.place, sender->number, offset);
	sum_bytes(&sender->sum, bytes, (size_t)n);
	if (sender->options.uncached)
		words_store(draft.place + TREE_HEAD, bytes, (size_t)n);
	r = end_draft(sender, &draft, (size_t)n);
	if (r < 0) {
		sender->sum = before;
		return r;
	}
	sender->extents.offset += (uint64_t)n;
	sender->totals.bytes += (uint64_t)n;
	return n;
}

/* Returns the bytes that were sent, or -EAGAIN, or how the channel ended. */
static int64_t
step_sending(struct sender *sender)
{
	bool hole;
	uint64_t length;
	int error = 0;
	int64_t n;

	if (sender->skip) {
		close_file(sender);
		return 0;
	}
	length = extents_next(&sender->extents, &hole);
	if (length > 0 && hole) {
		send_hole(sender, length);
		return 0;
	}
	n = length > 0 ? send_data(sender, length, &error) : 0;
	if (error > 0) {
		tell_errno(sender, error);
		give_up(sender);
	} else if (n == 0) {
		end_file(sender);
	}
	return n;
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
			close_file(sender);
		else
			n = (int64_t)step_asking(sender, &waits);
		break;
	case SENDING:
		n = step_sending(sender);
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
