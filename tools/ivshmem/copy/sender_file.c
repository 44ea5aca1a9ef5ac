/* SPDX-License-Identifier: BSD-2-Clause */
#include "sender.h"

#include "sender_state.h"

#include "tell.h"

#include <base/fd.h>
#include <base/words.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* So much is lent at a time. */
#define LENT_MAX (4 * CHUNK)
/* A record of at least so many bytes is worth waking the receiver. */
#define WORTH_WAKING 16384

void
sender_say(struct sender *sender, enum tree_record_type type)
{
	struct tree_record record = {.type = type, .file = sender->number};

	outbox_add(&sender->outbox, &record);
}

void
sender_close_file(struct sender *sender)
{
	sender->passed_before += (uint64_t)sender->stat.st_size;
	sender->fd = fd_close(sender->fd);
	sender->state = WALKING;
}

static void
tell_errno(struct sender *sender, int error)
{
	tell_file_problem(&sender->options, &sender->totals, &sender->outbox, "cannot read",
		sender->walk.path, strerror(error));
}

/* The receiver is to forget the file. */
static void
give_up(struct sender *sender)
{
	sender_say(sender, TREE_GIVE_UP);
	sender_close_file(sender);
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
	length = length < CHUNK ? length : CHUNK;
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

uint64_t
sender_step_asking(struct sender *sender, bool *ret_waits)
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
	sender_close_file(sender);
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

int64_t
sender_step_sending(struct sender *sender)
{
	bool hole;
	uint64_t length;
	int error = 0;
	int64_t n;

	if (sender->skip) {
		sender_close_file(sender);
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
