/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * restore: a snapshot back into the memory.
 *
 * Theory of operation: src/channel/restore.c says how nobody takes old channels for new ones. Between
 * its two calls, everything but the first page is written here. What is a hole in the snapshot becomes
 * one in the memory, unless all of the memory is allocated: that was done at its start, so that nothing
 * can be missing later, and stays so.
 */
#include "copy/extents.h"
#include "format.h"
#include "image.h"
#include "json.h"
#include "output.h"
#include "pages.h"
#include "progress.h"
#include "session.h"
#include "write.h"

#include <base/fd.h>
#include <base/parse.h>

#include <ivshmem/channel.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

static bool force;

static const struct argument restore_options[] = {
	{"force", NULL, "do it also if processes take part in channels, which they lose",
		.letter = 'f', .flag = &force},
};

struct restoring {
	struct session *session;
	const char *path;
	int from;     /* the snapshot */
	int to;       /* the memory's descriptor, or -1 */
	bool punches; /* zero pages become holes */
	uint64_t size;
	uint64_t data;
	struct stat stat; /* of the snapshot */
	struct progress progress;
	uint8_t header[IVSHMEM_CHANNELS_HEADER];
	uint8_t block[PAGES_BLOCK];
};

/* ---- checks, before anything changes ------------------------------------------------------------- */

static enum status
open_snapshot(struct restoring *restoring)
{
	char size[SIZE_TEXT_MAX], has[SIZE_TEXT_MAX];
	uint64_t saved;

	restoring->from = open(restoring->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (restoring->from < 0 || fstat(restoring->from, &restoring->stat) < 0)
		return fail("cannot read %s: %s", restoring->path, strerror(errno));
	if (!S_ISREG(restoring->stat.st_mode))
		return fail("cannot restore %s: it is no file", restoring->path);
	if (image_is_same(restoring->from, restoring->to))
		return fail(
			"%s is the memory itself: name the file of a snapshot", restoring->path);
	saved = (uint64_t)restoring->stat.st_size;
	if (saved != restoring->size)
		return fail("%s is a snapshot of %s (%" PRIu64
			    " bytes), and the memory has %s (%" PRIu64
			    " bytes): restore it into memory of its own size",
			restoring->path, format_size(saved, size), saved,
			format_size(restoring->size, has), restoring->size);
	return STATUS_OK;
}

static enum status
check_header(struct restoring *restoring)
{
	struct ivshmem_error error;
	size_t length = sizeof(restoring->header);
	int64_t n = pages_read(restoring->from, 0, restoring->header, length);

	if (n != (int64_t)length)
		return fail("cannot read %s: %s", restoring->path,
			n < 0 ? strerror((int)-n) : "it has become smaller");
	if (ivshmem_channels_restore_check(restoring->header, restoring->size, &error) < 0)
		return fail("cannot restore %s: %s", restoring->path, error.message);
	return STATUS_OK;
}

/* Storing into a hole of a full file system would be a bus error, half-way. */
static enum status
check_room(const struct restoring *restoring)
{
	char needed[SIZE_TEXT_MAX], available[SIZE_TEXT_MAX];
	uint64_t bytes, more, has, wants = (uint64_t)restoring->stat.st_blocks * 512;
	struct statvfs room;
	struct stat stat;

	if (restoring->to < 0 || fstat(restoring->to, &stat) < 0 ||
		fstatvfs(restoring->to, &room) < 0 || room.f_blocks == 0)
		return STATUS_OK;
	has = (uint64_t)stat.st_blocks * 512;
	bytes = (uint64_t)room.f_bavail * room.f_frsize;
	wants = wants < restoring->size ? wants : restoring->size;
	more = wants > has ? wants - has : 0;
	if (more <= bytes)
		return STATUS_OK;
	return fail("there is no room for what %s has: the memory needs %s more, and its file "
		    "system has %s",
		restoring->path, format_size(more, needed), format_size(bytes, available));
}

/* Whether the memory may get holes, and its kernel can make them. */
static bool
may_punch(const struct restoring *restoring)
{
	struct stat stat;
	struct statfs system;

	/* Of huge pages, older kernels do not clear those that are in the hole in part. */
	return restoring->to >= 0 && fstat(restoring->to, &stat) == 0 &&
	       fstatfs(restoring->to, &system) == 0 &&
	       (unsigned long)system.f_type != HUGETLBFS_MAGIC &&
	       (uint64_t)stat.st_blocks < restoring->size / 512;
}

static enum status
check(struct restoring *restoring)
{
	const struct session *session = restoring->session;

	if (ivshmem_read_only(session->client))
		return fail_read_only(session, "restore into");
	if (open_snapshot(restoring) != STATUS_OK || check_header(restoring) != STATUS_OK ||
		check_room(restoring) != STATUS_OK)
		return STATUS_FAILURE;
	return force ? STATUS_OK : check_channels_unused(session, "restore it with --force");
}

/* ---- writing ------------------------------------------------------------------------------------- */

static int
clear_pages(struct restoring *restoring, uint64_t offset, uint64_t length)
{
	static const uint8_t zero[65536];
	int r = 0;

	if (restoring->punches &&
		fallocate(restoring->to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			(off_t)length) == 0)
		return 0;
	while (length > 0 && r == 0) {
		size_t n = length < sizeof(zero) ? (size_t)length : sizeof(zero);

		r = ivshmem_write(restoring->session->client, offset, zero, n);
		offset += n;
		length -= n;
	}
	return r;
}

/* 0, or -errno. */
static int
write_block(struct restoring *restoring, uint64_t offset, size_t length)
{
	int64_t n = pages_read(restoring->from, offset, restoring->block, length);
	int r = n < 0 ? (int)n : (uint64_t)n < length ? -ENODATA : 0;

	for (size_t at = 0; at < length && r == 0;) {
		const uint8_t *bytes = restoring->block + at;
		bool zero = false;
		size_t run = pages_run(bytes, length - at, &zero);

		r = zero ? clear_pages(restoring, offset + at, run)
			 : ivshmem_write(restoring->session->client, offset + at, bytes, run);
		restoring->data += zero ? 0 : run;
		at += run;
	}
	return r;
}

/* All that follows the first page. */
static enum status
write_rest(struct restoring *restoring)
{
	struct extents extents;
	uint64_t length;
	bool hole;
	int r = 0;

	extents_begin(&extents, restoring->from, &restoring->stat, sizeof(restoring->header));
	while ((length = extents_next(&extents, &hole)) > 0 && r == 0) {
		/* A hole, too, in pieces: the user may want to end this. */
		length = length < PAGES_BLOCK ? length : PAGES_BLOCK;
		if (session_interrupted(restoring->session))
			return STATUS_FAILURE;
		r = hole ? clear_pages(restoring, extents.offset, length)
			 : write_block(restoring, extents.offset, (size_t)length);
		extents.offset += length;
		progress_show_part(
			&restoring->progress, restoring->data, extents.offset, restoring->size);
	}
	if (r < 0)
		return fail("cannot restore %s: %s", restoring->path,
			r == -ENODATA ? "it has become smaller" : strerror(-r));
	return STATUS_OK;
}

static enum status
write_all(struct restoring *restoring)
{
	void *memory = ivshmem_memory(restoring->session->client);
	struct ivshmem_error error;
	enum status status;

	if (ivshmem_channels_restore_begin(memory, restoring->size, &error) < 0)
		return fail("%s", error.message);
	status = write_rest(restoring);
	if (status == STATUS_OK && ivshmem_channels_restore_end(
					   memory, restoring->size, restoring->header, &error) < 0)
		status = fail("%s", error.message);
	if (status != STATUS_OK)
		fail("the memory is half-restored now: nobody can use channels until you restore it "
		     "again, or make it anew with 'ivshmem format'");
	return status;
}

/* ---------------------------------------------------------------------------------------------- */

static enum status
report(const struct restoring *restoring)
{
	int areas = ivshmem_channels_look(restoring->session->client, NULL, NULL, NULL, NULL);
	char size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX];
	struct json json = JSON_BEGIN;

	if (!restoring->session->cli->json) {
		print_line("restored %s, %s of it data%s", format_size(restoring->size, size),
			format_size(restoring->data, data),
			areas > 0 ? "; whoever used channels has to connect anew" : "");
		return STATUS_OK;
	}
	json_object(&json, NULL);
	json_number(&json, "size", restoring->size);
	json_number(&json, "data", restoring->data);
	json_number(&json, "areas", areas > 0 ? (uint64_t)areas : 0);
	json_finish(&json);
	return STATUS_OK;
}

static enum status
restore_snapshot(struct session *session, const char *path)
{
	static struct restoring restoring;
	enum status status;

	restoring.session = session;
	restoring.path = path;
	restoring.from = -1;
	restoring.to = ivshmem_memory_fd(session->client);
	restoring.size = ivshmem_size(session->client);
	progress_begin(&restoring.progress, session->cli, "restored");
	status = check(&restoring);
	restoring.punches = may_punch(&restoring);
	restoring.data = sizeof(restoring.header); /* whatever is in it */
	if (status == STATUS_OK)
		status = write_all(&restoring);
	progress_end(&restoring.progress);
	fd_close(restoring.from);
	return status == STATUS_OK ? report(&restoring) : status;
}

static enum status
restore_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	enum status status;

	if (!session)
		return STATUS_FAILURE;
	session->looks = true;
	status = session_open(session, cli, NULL, true, STATUS_FAILURE);
	return status == STATUS_OK ? restore_snapshot(session, operands[0]) : status;
}

const struct command command_restore = {
	.name = "restore",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "copy a snapshot back into the memory",
	.description =
		"Writes FILE, a snapshot of memory of the same size, into the memory, byte for byte. "
		"What is a hole in FILE, or a page of zeros, becomes a hole, unless all of the memory "
		"was allocated.\n"
		"Channels do not survive that. Whoever used them gets an error that says so (ESTALE), "
		"before it sees anything of the new content, and can take part again as soon as the "
		"command has ended. If the snapshot has channels, all areas are free afterwards. The "
		"command refuses if processes take part in channels through this memory, unless "
		"--force is given. Of other users of the memory it knows nothing.\n"
		"If the command is interrupted or killed, the memory is half-restored: 'ivshmem "
		"channels' and 'ivshmem doctor' say so, and nobody can take part, until this command "
		"or format makes something whole of it. One restore at a time may run.",
	CLI_OPTIONS(restore_options),
	.json = "{\"size\":BYTES,\"data\":BYTES-THAT-ARE-NOT-ZERO,\"areas\":N}\n"
		"\"areas\" is 0 if the snapshot has no channels.",
	.statuses = "1 also if somebody takes part, or if the memory has another size.",
	.examples = "ivshmem restore before-upgrade.img\n"
		    "ivshmem --target shm:vm restore --force vm.img",
	.run = restore_run,
};
