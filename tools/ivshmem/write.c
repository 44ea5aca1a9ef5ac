/* SPDX-License-Identifier: BSD-2-Clause */
#include "write.h"

#include "json.h"
#include "operands.h"
#include "output.h"

#include <base/parse.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_SIZE 65536

enum status
fail_read_only(const struct session *session, const char *what)
{
	const char *backend = ivshmem_backend(session->client);
	bool served = strcmp(backend, "unix") == 0 || strcmp(backend, "observe") == 0;

	return fail("cannot %s %s: it is for reading only; %s", what, session->target,
		served ? "its server gives it so to our user or group (--read-only-user, --read-only-group)"
		       : "leave out the ,ro at its end");
}

static enum status
write_check(const struct session *session)
{
	if (session_check_attached(session) != STATUS_OK)
		return STATUS_FAILURE;
	if (ivshmem_read_only(session->client))
		return fail_read_only(session, "write to");
	return STATUS_OK;
}

static enum status
report(const struct session *session, uint64_t offset, uint64_t written)
{
	struct json json = JSON_BEGIN;

	if (!session->cli->json)
		return STATUS_OK;
	json_object(&json, NULL);
	json_number(&json, "offset", offset);
	json_number(&json, "length", written);
	json_finish(&json);
	return STATUS_OK;
}

enum status
memory_write(const struct session *session, uint64_t offset, const void *bytes, size_t length)
{
	int r;

	if (write_check(session) != STATUS_OK)
		return STATUS_FAILURE;
	r = ivshmem_write(session->client, offset, bytes, length);
	if (r == -ERANGE)
		return session_fail_range(session, offset, length);
	if (r < 0)
		return fail("cannot write to the memory: %s", strerror(-r));
	return report(session, offset, length);
}

static enum status
write_text(
	const struct session *session, uint64_t offset, const char *text, bool nul, uint64_t limit)
{
	size_t length = strlen(text);
	enum status status;
	char *bytes;

	if (length + nul > limit)
		length = (size_t)(limit - nul);
	/* A copy, because a shortened text has no room for its NUL. */
	bytes = calloc(1, length + 1);
	if (!bytes)
		return fail("out of memory");
	memcpy(bytes, text, length);
	status = memory_write(session, offset, bytes, length + nul);
	free(bytes);
	return status;
}

static enum status
write_fail_full(const struct session *session, uint64_t offset, uint64_t written)
{
	uint64_t size = ivshmem_size(session->client);
	char text[SIZE_TEXT_MAX];

	return fail("the input does not fit: %" PRIu64 " bytes were written at offset %" PRIu64
		    " up to the end of the memory, which has %s (%" PRIu64 " bytes)",
		written, offset, format_size(size, text), size);
}

/* Copy stdin piece by piece as it arrives: at most `limit` bytes, including the NUL. */
static enum status
write_stdin(const struct session *session, uint64_t offset, bool nul, uint64_t limit)
{
	static unsigned char buffer[CHUNK_SIZE];
	uint64_t size = ivshmem_size(session->client), written = 0, room;

	if (offset > size)
		return session_fail_range(session, offset, 0);
	room = size - offset;
	limit -= nul;
	while (written < limit) {
		uint64_t wanted = limit - written;
		ssize_t n = read(STDIN_FILENO, buffer,
			wanted < sizeof(buffer) ? (size_t)wanted : sizeof(buffer));
		size_t length;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail("cannot read stdin: %s", strerror(errno));
		if (n == 0)
			break;
		length = (uint64_t)n < room - written ? (size_t)n : (size_t)(room - written);
		if (ivshmem_write(session->client, offset + written, buffer, length) < 0)
			return session_fail_range(session, offset + written, length);
		written += length;
		if (length < (size_t)n)
			return write_fail_full(session, offset, written);
	}
	if (nul) {
		if (written == room || ivshmem_write(session->client, offset + written, "", 1) < 0)
			return write_fail_full(session, offset, written);
		written++;
	}
	return report(session, offset, written);
}

static struct {
	bool nul;
	uint64_t limit;
} given = {.limit = UINT64_MAX};

static const struct argument write_options[] = {
	{"nul", NULL, "append a NUL, so that the text can be read with read --text", .letter = '0',
		.flag = &given.nul},
	{"length", "N", "write at most N bytes, including the NUL (default: everything)",
		.letter = 'n', .size = &given.limit},
};

static enum status
write_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	uint64_t offset = 0, limit = given.limit;
	bool nul = given.nul;
	enum status status;

	if (!session)
		return STATUS_FAILURE;
	if (operand_take(&(struct argument){"OFFSET", .size = &offset}, operands[0]) < 0)
		return STATUS_USAGE;
	if (limit < nul) {
		fail("--length 0 leaves no room for the NUL of --nul");
		return STATUS_USAGE;
	}
	session->looks = true;
	status = session_open(session, cli, NULL, false, STATUS_OK);
	/* Check before taking anything from stdin. */
	if (status == STATUS_OK)
		status = write_check(session);
	if (status != STATUS_OK)
		return status;
	if (operands[1])
		return write_text(session, offset, operands[1], nul, limit);
	return write_stdin(session, offset, nul, limit);
}

const struct command command_write = {
	.name = "write",
	.operands = "OFFSET [TEXT]",
	.min_operands = 1,
	.max_operands = 2,
	.summary = "store into the shared memory",
	.description =
		"Stores the bytes of TEXT into the shared memory, from OFFSET on. Without TEXT, it "
		"stores what it reads from stdin. When the command has ended, the other peers see "
		"the bytes. This interrupts nobody: use ring afterwards.\n"
		"OFFSET and N are decimal, or hexadecimal with 0x in front, and may end in K, M, G "
		"or T (powers of 1024). A TEXT of several words needs quotes, and a TEXT that "
		"begins with a dash needs -- in front of OFFSET.",
	CLI_OPTIONS(write_options),
	.json = "{\"offset\":O,\"length\":BYTES-WRITTEN}",
	.statuses =
		"1 also if it does not fit: then nothing of a TEXT is written, but of stdin what fits.",
	.examples = "ivshmem write 0 --nul 'hello, guest'\n"
		    "ivshmem write 1M --length 64K < picture.raw",
	.run = write_run,
};
