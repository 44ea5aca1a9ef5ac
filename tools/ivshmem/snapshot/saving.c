/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation: the memory is read through its descriptor where there is one, because looking at
 * a hole through a mapping would allocate it. What the descriptor says is a hole is not read at all,
 * and a page that is zero is not written. On a file system that can, all of it is one request for
 * the same blocks (reflink).
 */
#include "saving.h"

#include "copy/extents.h"
#include "output.h"
#include "pages.h"
#include "progress.h"

#include <base/parse.h>

#include <ivshmem/channel.h>

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct saving {
	struct session *session;
	const struct image *image;
	int from; /* the memory's descriptor, or -1 */
	int to;   /* -1: only count */
	uint64_t size;
	uint64_t data;
	struct progress progress;
	uint8_t *buffer;
};

/* 0, or -errno; -ENODATA if the memory has become smaller. */
static int
load(const struct saving *saving, uint64_t offset, size_t length)
{
	int64_t n = saving->from < 0 ? -EOPNOTSUPP
				     : pages_read(saving->from, offset, saving->buffer, length);

	if (n == -EOPNOTSUPP || n == -EINVAL)
		return ivshmem_read(saving->session->client, offset, saving->buffer, length);
	return n < 0 ? (int)n : (uint64_t)n < length ? -ENODATA : 0;
}

static enum status
fail_to_save(const struct saving *saving, int error, const char *what)
{
	return fail("cannot %s %s: %s", what,
		strcmp(what, "read") == 0 ? "the memory" : saving->image->path,
		error == -ENODATA ? "it has become smaller" : strerror(-error));
}

static enum status
save_block(struct saving *saving, uint64_t offset, size_t length)
{
	int r = load(saving, offset, length);

	if (r < 0)
		return fail_to_save(saving, r, "read");
	for (size_t at = 0; at < length;) {
		bool zero = false;
		size_t run = pages_run(saving->buffer + at, length - at, &zero);

		if (!zero && saving->to >= 0)
			r = pages_write(saving->to, offset + at, saving->buffer + at, run);
		if (r < 0)
			return fail_to_save(saving, r, "write");
		saving->data += zero ? 0 : run;
		at += run;
	}
	return STATUS_OK;
}

static void
extents_of_memory(const struct saving *saving, struct extents *extents)
{
	struct stat stat;

	/* Without a descriptor, it is all data. */
	if (saving->from < 0 || fstat(saving->from, &stat) < 0)
		stat = (struct stat){.st_blocks = (blkcnt_t)(saving->size / 512 + 1)};
	stat.st_size = (off_t)saving->size;
	extents_begin(extents, saving->from, &stat, 0);
}

/* Everything: to the file, or only count what would be written. */
static enum status
save_all(struct saving *saving)
{
	struct extents extents;
	uint64_t length;
	bool hole;

	saving->data = 0;
	extents_of_memory(saving, &extents);
	while ((length = extents_next(&extents, &hole)) > 0) {
		if (!hole && length > PAGES_BLOCK)
			length = PAGES_BLOCK;
		if (session_interrupted(saving->session))
			return STATUS_FAILURE;
		if (!hole && save_block(saving, extents.offset, (size_t)length) != STATUS_OK)
			return STATUS_FAILURE;
		extents.offset += length;
		progress_show_part(&saving->progress, saving->data, extents.offset, saving->size);
	}
	return STATUS_OK;
}

/* ---- room ---------------------------------------------------------------------------------------- */

static uint64_t
count_extents(const struct saving *saving)
{
	struct extents extents;
	uint64_t length, sum = 0;
	bool hole;

	extents_of_memory(saving, &extents);
	while ((length = extents_next(&extents, &hole)) > 0) {
		sum += hole ? 0 : length;
		extents.offset += length;
	}
	return sum;
}

/* Before anything is written, so that a disk does not become full first. */
static enum status
check_room(struct saving *saving)
{
	char needed[SIZE_TEXT_MAX], available[SIZE_TEXT_MAX];
	int to = saving->to;
	struct statvfs room;
	enum status status;
	uint64_t bytes;

	/* A file system without any blocks has no limit. */
	if (fstatvfs(to, &room) < 0 || room.f_blocks == 0)
		return STATUS_OK;
	bytes = (uint64_t)room.f_bavail * room.f_frsize;
	if (count_extents(saving) <= bytes)
		return STATUS_OK;
	/* There may be zeros among it. */
	saving->to = -1;
	status = save_all(saving);
	saving->to = to;
	if (status != STATUS_OK || saving->data <= bytes)
		return status;
	return fail("there is no room for %s: it needs %s, and its file system has %s",
		saving->image->path, format_size(saving->data, needed),
		format_size(bytes, available));
}

/* ---------------------------------------------------------------------------------------------- */

/* The beginning tells whether somebody restores the memory. */
static enum status
check_whole(const struct saving *saving)
{
	int r = load(saving, 0, IVSHMEM_CHANNELS_HEADER);

	if (r == 0)
		r = ivshmem_channels_restore_check(saving->buffer, saving->size, NULL);
	if (r != -EINPROGRESS)
		return STATUS_OK;
	return fail("the memory is half-restored: a restore is under way, or it was killed; wait "
		    "for it, or finish it with 'ivshmem restore'");
}

static enum status
save(struct saving *saving, struct saved *saved)
{
	enum status status = check_whole(saving);

	if (status != STATUS_OK)
		return status;
	if (saving->from >= 0 && ioctl(saving->to, FICLONE, saving->from) == 0) {
		saving->data = count_extents(saving);
		saved->reflink = true;
	} else {
		status = check_room(saving);
		if (status == STATUS_OK)
			status = save_all(saving);
	}
	if (status == STATUS_OK && ftruncate(saving->to, (off_t)saving->size) < 0)
		status = fail_to_save(saving, -errno, "write");
	/* A restore that began meanwhile has given us some of each. */
	return status == STATUS_OK ? check_whole(saving) : status;
}

enum status
save_memory(struct session *session, const struct image *image, struct saved *ret_saved)
{
	static uint8_t buffer[PAGES_BLOCK];
	struct saving saving = {
		.session = session,
		.image = image,
		.from = ivshmem_memory_fd(session->client),
		.to = image->part.fd,
		.size = ivshmem_size(session->client),
		.buffer = buffer,
	};
	struct saved saved = {.size = saving.size};
	enum status status;

	progress_begin(&saving.progress, session->cli, "saved");
	status = save(&saving, &saved);
	progress_end(&saving.progress);
	saved.data = saving.data;
	*ret_saved = saved;
	return status;
}
