/* SPDX-License-Identifier: BSD-2-Clause */
#include "receiver.h"

#include "extents.h"
#include "part.h"
#include "place.h"
#include "sum.h"
#include "tell.h"
#include "tree.h"

#include <base/error.h>
#include <base/words.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER 65536
/* When so much was taken since we said so last, we say it again. */
#define TAKEN_STEP 131072
/* At most so many marks are told of a file. */
#define MARKS_MAX 4096

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

static void
tell(struct receiver *receiver, const char *what, const char *why)
{
	tell_file_problem(&receiver->options, &receiver->totals, &receiver->outbox, what,
		receiver->place.path, why);
}

static void
say(struct receiver *receiver, enum tree_record_type type)
{
	struct tree_record record = {.type = type, .file = receiver->number};

	outbox_add(&receiver->outbox, &record);
}

static void
end(struct receiver *receiver)
{
	outbox_add(&receiver->outbox, &(struct tree_record){.type = TREE_DONE,
					      .value = receiver->totals.bytes & INT64_MAX,
					      .numbers = {receiver->totals.files}});
	receiver->state = ENDED;
}

/* ---- files ------------------------------------------------------------------------------------- */

static void
refuse(struct receiver *receiver)
{
	part_remove(&receiver->part);
	say(receiver, TREE_SKIP);
	receiver->state = REFUSING;
}

static const char *
explain(int error)
{
	switch (error) {
	case EBUSY:
		return "another copy writes this file now";
	case EEXIST:
		return "something else has this name";
	case ELOOP:
		return "it is in too many folders";
	default:
		return strerror(error);
	}
}

/* To resume: whether the file is there already, with its size and time. */
static bool
is_complete(const struct receiver *receiver, const char *name)
{
	const struct tree_entry *entry = &receiver->entry;
	struct stat stat;

	return fstatat(place_folder(&receiver->place), name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(stat.st_mode) && entry->size == (uint64_t)stat.st_size &&
	       entry->seconds == stat.st_mtim.tv_sec &&
	       entry->nanoseconds == (uint32_t)stat.st_mtim.tv_nsec;
}

/* Look at what there is of the file. */
static void
begin_scan(struct receiver *receiver, uint64_t size)
{
	struct stat stat;

	receiver->mark_step = SUM_BLOCK;
	while (size / receiver->mark_step > MARKS_MAX)
		receiver->mark_step *= 2;
	receiver->marks_end = size - size % receiver->mark_step;
	receiver->told = 0;
	receiver->state = SCANNING;
	if (fstat(receiver->part.fd, &stat) < 0)
		receiver->marks_end = 0;
	else
		extents_begin(&receiver->extents, receiver->part.fd, &stat, 0);
}

static int
begin_file(struct receiver *receiver)
{
	char name[NAME_MAX + 1];
	uint64_t size = 0;
	int r;

	receiver->number = receiver->in.file;
	receiver->passed_before += receiver->entry.size;
	receiver->entry = receiver->in.entry;
	receiver->offset = 0;
	sum_begin(&receiver->sum, NULL);
	if (receiver->place.skipped > 0) {
		refuse(receiver);
		return 0;
	}
	memcpy(name, receiver->in.name, sizeof(name));
	r = place_name(&receiver->place, name);
	if (r < 0)
		return r;
	if (receiver->options.resume && is_complete(receiver, name)) {
		receiver->totals.files++;
		refuse(receiver);
		return 0;
	}
	r = part_open(&receiver->part, place_folder(&receiver->place), name,
		receiver->options.resume, &size);
	if (r < 0) {
		tell(receiver, "cannot write", explain(-r));
		refuse(receiver);
		return 0;
	}
	receiver->state = RECEIVING;
	if (receiver->options.resume)
		begin_scan(receiver, size);
	return 0;
}

/* All of it, at `offset`. Returns 0, or a negative errno. */
static int
write_all(int fd, const uint8_t *bytes, size_t length, uint64_t offset)
{
	while (length > 0) {
		ssize_t n = pwrite(fd, bytes, length, (off_t)offset);

		if (n == 0 || (n < 0 && errno != EINTR))
			return n == 0 ? -EIO : -errno;
		if (n < 0)
			continue;
		bytes += n;
		length -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int
write_data(struct receiver *receiver, const uint8_t *shared, size_t length)
{
	while (length > 0) {
		const uint8_t *bytes = shared;
		size_t n = length;
		int r;

		if (receiver->options.uncached) {
			n = n < BUFFER ? n : BUFFER;
			words_load(receiver->buffer, shared, n);
			bytes = receiver->buffer;
		}
		sum_bytes(&receiver->sum, bytes, n);
		r = write_all(receiver->part.fd, bytes, n, receiver->offset);
		if (r < 0)
			return r;
		receiver->offset += n;
		receiver->totals.bytes += n;
		shared += n;
		length -= n;
	}
	return 0;
}

/* Data or a hole. */
static int
take_piece(struct receiver *receiver)
{
	const struct tree_record *in = &receiver->in;
	uint64_t length = in->type == TREE_HOLE ? in->numbers[0] : in->length;
	int r = 0;

	if (in->value != receiver->offset || length > INT64_MAX - receiver->offset)
		return -EPROTO;
	if (in->type == TREE_HOLE) {
		sum_zeros(&receiver->sum, length);
		receiver->offset += length;
	} else {
		r = write_data(receiver, in->bytes, in->length);
	}
	if (r < 0) {
		tell(receiver, "cannot write", strerror(-r));
		refuse(receiver);
	}
	return 0;
}

static int
end_file(struct receiver *receiver)
{
	int r;

	if (receiver->in.value != receiver->offset)
		return -EPROTO;
	receiver->state = IDLE;
	if (receiver->in.numbers[0] != sum_end(&receiver->sum)) {
		part_remove(&receiver->part);
		tell(receiver, NULL,
			"was left out: its checksum shows that it was damaged on the way; copy it again");
		return 0;
	}
	r = part_finish(
		&receiver->part, &receiver->entry, receiver->options.owner, receiver->offset);
	if (r < 0)
		tell(receiver, "cannot write", strerror(-r));
	else
		receiver->totals.files++;
	return 0;
}

/* ---- resuming ---------------------------------------------------------------------------------- */

static void
say_mark(struct receiver *receiver)
{
	receiver->told = receiver->extents.offset;
	outbox_add(&receiver->outbox,
		&(struct tree_record){.type = TREE_MARK,
			.file = receiver->number,
			.value = receiver->told,
			.numbers = {receiver->sum.mark.mixed, receiver->sum.mark.zero_blocks}});
}

/* Read a piece of what we have. Returns how many bytes. */
static uint64_t
scan(struct receiver *receiver)
{
	struct extents *extents = &receiver->extents;
	uint64_t left, length = 0;
	bool hole = false;
	ssize_t n = 0;

	if (receiver->told < receiver->marks_end)
		length = extents_next(extents, &hole);
	if (length == 0) {
		say(receiver, TREE_MARKS_END);
		receiver->state = AWAITING;
		return 0;
	}
	left = receiver->told + receiver->mark_step - extents->offset;
	length = length < left ? length : left;
	if (hole) {
		sum_zeros(&receiver->sum, length);
	} else {
		length = length < BUFFER ? length : BUFFER;
		n = pread(receiver->part.fd, receiver->buffer, (size_t)length,
			(off_t)extents->offset);
		/* What cannot be read is sent again. */
		if (n <= 0) {
			receiver->marks_end = receiver->told;
			return 0;
		}
		length = (uint64_t)n;
		sum_bytes(&receiver->sum, receiver->buffer, (size_t)n);
	}
	extents->offset += length;
	if (extents->offset == receiver->told + receiver->mark_step)
		say_mark(receiver);
	return (uint64_t)n;
}

static int
go_on(struct receiver *receiver)
{
	const struct tree_record *in = &receiver->in;
	struct sum_mark mark = {in->numbers[0], in->numbers[1]};

	if (in->value > receiver->told || in->value % receiver->mark_step != 0)
		return -EPROTO;
	receiver->offset = in->value;
	sum_begin(&receiver->sum, in->value > 0 ? &mark : NULL);
	receiver->state = RECEIVING;
	if (ftruncate(receiver->part.fd, (off_t)in->value) < 0) {
		tell(receiver, "cannot write", strerror(errno));
		refuse(receiver);
	}
	return 0;
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
		tell(receiver, "cannot make the symbolic link", strerror(-r));
	return 0;
}

static int
take_folder(struct receiver *receiver)
{
	int r = place_enter(&receiver->place, &receiver->in);

	if (r == -EPROTO)
		return r;
	if (r < 0)
		tell(receiver, "cannot make the folder", explain(-r));
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
		return begin_file(receiver);
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
		return go_on(receiver);
	return type == TREE_FILE_END ? end_file(receiver) : take_piece(receiver);
}

static int
take_record(struct receiver *receiver)
{
	switch (receiver->in.type) {
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
	case TREE_MARK:
	case TREE_MARKS_END:
	case TREE_SKIP:
	case TREE_TAKEN:
	case TREE_DONE:
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
		return (int64_t)scan(receiver);
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
