/* SPDX-License-Identifier: BSD-2-Clause */
#include "receiver.h"

#include "receiver_state.h"

#include "tell.h"

#include <base/words.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* At most so many marks are told of a file. */
#define MARKS_MAX 4096

void
receiver_tell(struct receiver *receiver, const char *what, const char *why)
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

/* ---- files ------------------------------------------------------------------------------------- */

static void
refuse(struct receiver *receiver)
{
	part_remove(&receiver->part);
	say(receiver, TREE_SKIP);
	receiver->state = REFUSING;
}

const char *
receiver_explain(int error)
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

int
receiver_begin_file(struct receiver *receiver)
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
		receiver_tell(receiver, "cannot write", receiver_explain(-r));
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

int
receiver_take_piece(struct receiver *receiver)
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
		receiver_tell(receiver, "cannot write", strerror(-r));
		refuse(receiver);
	}
	return 0;
}

int
receiver_end_file(struct receiver *receiver)
{
	int r;

	if (receiver->in.value != receiver->offset)
		return -EPROTO;
	receiver->state = IDLE;
	if (receiver->in.numbers[0] != sum_end(&receiver->sum)) {
		part_remove(&receiver->part);
		receiver_tell(receiver, NULL,
			"was left out: its checksum shows that it was damaged on the way; copy it again");
		return 0;
	}
	r = part_finish(
		&receiver->part, &receiver->entry, receiver->options.owner, receiver->offset);
	if (r < 0)
		receiver_tell(receiver, "cannot write", strerror(-r));
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

uint64_t
receiver_scan(struct receiver *receiver)
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

int
receiver_go_on(struct receiver *receiver)
{
	const struct tree_record *in = &receiver->in;
	struct sum_mark mark = {in->numbers[0], in->numbers[1]};

	if (in->value > receiver->told || in->value % receiver->mark_step != 0)
		return -EPROTO;
	receiver->offset = in->value;
	sum_begin(&receiver->sum, in->value > 0 ? &mark : NULL);
	receiver->state = RECEIVING;
	if (ftruncate(receiver->part.fd, (off_t)in->value) < 0) {
		receiver_tell(receiver, "cannot write", strerror(errno));
		refuse(receiver);
	}
	return 0;
}
