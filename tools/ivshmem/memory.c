/* SPDX-License-Identifier: BSD-2-Clause */
#include "memory.h"

#include "hexdump.h"
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
memory_fail_range(const struct session *session, uint64_t offset, uint64_t length)
{
	uint64_t size = ivshmem_size(session->client);
	char text[SIZE_TEXT_MAX];

	format_size(size, text);
	if (offset > size)
		return fail("offset %" PRIu64
			    " is beyond the end of the memory, which has %s (%" PRIu64 " bytes)",
			offset, text, size);
	return fail("%" PRIu64 " bytes at offset %" PRIu64
		    " do not fit: the memory has %s (%" PRIu64 " bytes), %" PRIu64
		    " from there to its end",
		length, offset, text, size, size - offset);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Called with consecutive pieces; returns false to end early. */
typedef bool (*chunk_fn)(void *data, const unsigned char *bytes, size_t length);

/* Check the range, make MEMORY_TO_END a number. */
static enum status
range_check(const struct session *session, uint64_t offset, uint64_t *length)
{
	uint64_t size;

	if (session_check_attached(session) != STATUS_OK)
		return STATUS_FAILURE;
	size = ivshmem_size(session->client);
	if (*length == MEMORY_TO_END && offset <= size)
		*length = size - offset;
	if (offset > size || *length > size - offset)
		return memory_fail_range(session, offset, *length);
	return STATUS_OK;
}

static enum status
read_chunks(struct session *session, uint64_t offset, uint64_t length, chunk_fn chunk, void *data)
{
	static unsigned char buffer[CHUNK_SIZE];

	while (length > 0) {
		size_t n = length < sizeof(buffer) ? (size_t)length : sizeof(buffer);
		int r = ivshmem_read(session->client, offset, buffer, n);

		if (r < 0)
			return fail("cannot read the memory: %s", strerror(-r));
		if (!chunk(data, buffer, n))
			return STATUS_OK;
		/* A reader that closed its end must not be fed the rest of some gigabytes. */
		if (output_failure() < 0)
			return STATUS_FAILURE;
		if (session_interrupted(session))
			return STATUS_FAILURE;
		offset += n;
		length -= n;
	}
	return STATUS_OK;
}

static bool
chunk_raw(void *data, const unsigned char *bytes, size_t length)
{
	(void)data;
	fwrite(bytes, 1, length, stdout);
	return true;
}

static bool
chunk_hexdump(void *data, const unsigned char *bytes, size_t length)
{
	hexdump_add(data, bytes, length);
	return true;
}

static bool
chunk_json(void *data, const unsigned char *bytes, size_t length)
{
	json_hex(data, bytes, length);
	return true;
}

static enum status
memory_raw(struct session *session, uint64_t offset, uint64_t length)
{
	enum status status = range_check(session, offset, &length);

	return status == STATUS_OK ? read_chunks(session, offset, length, chunk_raw, NULL) : status;
}

enum status
memory_dump(struct session *session, uint64_t offset, uint64_t length)
{
	enum status status = range_check(session, offset, &length);

	if (status != STATUS_OK)
		return status;
	if (session->cli->json) {
		struct json json = JSON_BEGIN;

		json_object(&json, NULL);
		json_number(&json, "offset", offset);
		json_number(&json, "length", length);
		json_hex_begin(&json, "hex");
		status = read_chunks(session, offset, length, chunk_json, &json);
		json_hex_end(&json);
		json_finish(&json);
	} else {
		struct hexdump dump;

		hexdump_begin(&dump, offset);
		status = read_chunks(session, offset, length, chunk_hexdump, &dump);
		hexdump_end(&dump);
		output_flush();
	}
	return status;
}

struct text {
	char *bytes;
	size_t length;
	bool out_of_memory;
};

static bool
chunk_text(void *data, const unsigned char *bytes, size_t length)
{
	struct text *text = data;
	const unsigned char *nul = memchr(bytes, 0, length);
	size_t n = nul ? (size_t)(nul - bytes) : length;
	char *grown = realloc(text->bytes, text->length + n + 1);

	if (!grown) {
		text->out_of_memory = true;
		return false;
	}
	text->bytes = grown;
	memcpy(text->bytes + text->length, bytes, n);
	text->length += n;
	return !nul;
}

enum status
memory_text(struct session *session, uint64_t offset, uint64_t length)
{
	struct text text = {.length = 0};
	enum status status = range_check(session, offset, &length);

	if (status == STATUS_OK)
		status = read_chunks(session, offset, length, chunk_text, &text);
	if (text.out_of_memory)
		status = fail("out of memory: there is no NUL within a long way; name a LENGTH");
	if (status == STATUS_OK && session->cli->json) {
		struct json json = JSON_BEGIN;

		json_object(&json, NULL);
		json_number(&json, "offset", offset);
		json_number(&json, "length", text.length);
		json_text(&json, "text", text.bytes ? text.bytes : "", text.length);
		json_finish(&json);
	} else if (status == STATUS_OK) {
		print_foreign_text(text.bytes ? text.bytes : "", text.length);
		print_line("%s", "");
	}
	free(text.bytes);
	return status;
}

static struct {
	bool hex, text, raw;
} read_given;

static const struct argument read_options[] = {
	{"hex", 'x', NULL,
		"print a dump: offset, hexadecimal bytes, characters (default when stdout is a terminal)",
		.flag = &read_given.hex},
	{"text", 's', NULL, "print the text up to the first NUL, and a newline",
		.flag = &read_given.text},
	{"raw", 'r', NULL, "write the bytes as they are (default otherwise)",
		.flag = &read_given.raw},
};

static enum status
read_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	bool hex = read_given.hex, text = read_given.text, raw = read_given.raw;
	uint64_t offset = 0, length = MEMORY_TO_END;
	enum status status;

	if (!session)
		return STATUS_FAILURE;
	if (hex + text + raw > 1 || (raw && cli->json)) {
		fail("--hex, --text and --raw exclude each other, and --raw excludes --json");
		return STATUS_USAGE;
	}
	if (operand_take(&(struct argument){"OFFSET", .size = &offset}, operands[0]) < 0 ||
		operand_take(&(struct argument){"LENGTH", .size = &length}, operands[1]) < 0)
		return STATUS_USAGE;

	session->looks = true;
	status = session_open(session, cli, NULL, false, STATUS_OK);
	if (status != STATUS_OK)
		return status;
	if (text)
		return memory_text(session, offset, length);
	if (!operands[1] && !raw && isatty(STDOUT_FILENO)) {
		/* Nobody wants megabytes on the screen; near the end, there may be less than this.
		 */
		uint64_t size = ivshmem_size(session->client);

		if (offset < size && size - offset > 256)
			length = 256;
	}
	if (cli->json || hex || (!raw && isatty(STDOUT_FILENO)))
		return memory_dump(session, offset, length);
	return memory_raw(session, offset, length);
}

const struct command command_read = {
	.name = "read",
	.operands = "OFFSET [LENGTH]",
	.min_operands = 1,
	.max_operands = 2,
	.summary = "print a part of the shared memory",
	.description =
		"Prints LENGTH bytes of the shared memory from OFFSET on. Without LENGTH it goes "
		"to the end of the memory, or, when it prints a dump on a terminal, 256 bytes "
		"far. With --text, LENGTH is the most it looks at.\n"
		"OFFSET and LENGTH are decimal or 0x hexadecimal and may end in K, M, G, T (powers of 1024).\n"
		"With --text on a terminal, control characters are shown as \\xNN, because any "
		"peer can have put them there. Memory that others write meanwhile may show halves "
		"of their writes.",
	CLI_OPTIONS(read_options),
	.json = "{\"offset\":O,\"length\":L,\"hex\":\"00ff...\"}\n"
		"With --text: {\"offset\":O,\"length\":L,\"text\":TEXT}; bytes that are not UTF-8 are replaced by U+FFFD.",
	.statuses = "1 also if the memory ends before OFFSET + LENGTH; nothing is printed then.",
	.examples = "ivshmem read 0x100 64 --hex\n"
		    "ivshmem read 4K --text",
	.run = read_run,
};

/* ---- writing ------------------------------------------------------------------------------ */

static enum status
write_check(const struct session *session)
{
	if (session_check_attached(session) != STATUS_OK)
		return STATUS_FAILURE;
	if (ivshmem_read_only(session->client))
		return fail(
			"cannot write to %s: it is for reading only; leave out the ,ro at its end",
			session->target);
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
		return memory_fail_range(session, offset, length);
	if (r < 0)
		return fail("cannot write to the memory: %s", strerror(-r));
	if (session->cli->json) {
		struct json json = JSON_BEGIN;

		json_object(&json, NULL);
		json_number(&json, "offset", offset);
		json_number(&json, "length", length);
		json_finish(&json);
	}
	return STATUS_OK;
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
	/* The NUL of a shortened text has no place in the text itself. */
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

/* Copy stdin, at most `limit` bytes with the NUL, piece by piece as it comes. */
static enum status
write_stdin(const struct session *session, uint64_t offset, bool nul, uint64_t limit)
{
	static unsigned char buffer[CHUNK_SIZE];
	uint64_t size = ivshmem_size(session->client), written = 0, room;

	if (offset > size)
		return memory_fail_range(session, offset, 0);
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
			return memory_fail_range(session, offset + written, length);
		written += length;
		if (length < (size_t)n)
			return write_fail_full(session, offset, written);
	}
	if (nul) {
		if (written == room || ivshmem_write(session->client, offset + written, "", 1) < 0)
			return write_fail_full(session, offset, written);
		written++;
	}
	if (session->cli->json) {
		struct json json = JSON_BEGIN;

		json_object(&json, NULL);
		json_number(&json, "offset", offset);
		json_number(&json, "length", written);
		json_finish(&json);
	}
	return STATUS_OK;
}

static struct {
	bool nul;
	uint64_t limit;
} write_given = {.limit = UINT64_MAX};

static const struct argument write_options[] = {
	{"nul", '0', NULL, "append a NUL, so that the text can be read with --text",
		.flag = &write_given.nul},
	{"length", 'n', "N", "write at most N bytes, the NUL included (default: everything)",
		.size = &write_given.limit},
};

static enum status
write_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	uint64_t offset = 0, limit = write_given.limit;
	bool nul = write_given.nul;
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
	/* Now, before anything is taken from stdin. */
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
		"Stores the bytes of TEXT into the shared memory from OFFSET on, or what stdin "
		"gives if there is no TEXT. The other peers see the bytes when the command has "
		"ended. Nobody is interrupted: follow it with ring.\n"
		"OFFSET and N are decimal or 0x hexadecimal and may end in K, M, G, T (powers of "
		"1024). A TEXT of several words needs quotes, and one that begins with a dash "
		"needs -- in front of OFFSET.",
	CLI_OPTIONS(write_options),
	.json = "{\"offset\":O,\"length\":BYTES-WRITTEN}",
	.statuses =
		"1 also if it does not fit: of a TEXT nothing is written then, of stdin what does fit.",
	.examples = "ivshmem write 0 --nul 'hello, guest'\n"
		    "ivshmem write 1M --length 64K < picture.raw",
	.run = write_run,
};
