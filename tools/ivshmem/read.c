/* SPDX-License-Identifier: BSD-2-Clause */
#include "read.h"

#include "hexdump.h"
#include "json.h"
#include "operands.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_SIZE 65536

/* Gets consecutive pieces. Returns false to end early. */
typedef bool (*chunk_fn)(void *data, const unsigned char *bytes, size_t length);

/* Check the range, and replace MEMORY_TO_END by the length. */
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
		return session_fail_range(session, offset, *length);
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
		/* Do not write gigabytes to a reader that has closed its end. */
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
} given;

static const struct argument read_options[] = {
	{"hex", NULL,
		"print a dump: offset, hexadecimal bytes, characters (the default if stdout is a terminal)",
		.letter = 'x', .flag = &given.hex},
	{"text", NULL, "print the text up to the first NUL, and a newline", .letter = 's',
		.flag = &given.text},
	{"raw", NULL, "write the bytes as they are (the default otherwise)", .letter = 'r',
		.flag = &given.raw},
};

static enum status
read_run(const struct cli *cli, char *const *operands)
{
	_session_free_ struct session *session = session_new();
	bool hex = given.hex, text = given.text, raw = given.raw;
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
		/* Nobody wants megabytes on the screen. Near the end, there may be less than this. */
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
		"Prints LENGTH bytes of the shared memory, from OFFSET on. Without LENGTH, it prints "
		"up to the end of the memory, but a dump on a terminal ends after 256 bytes. With "
		"--text, LENGTH is the most that it looks at.\n"
		"OFFSET and LENGTH are decimal, or hexadecimal with 0x in front, and may end in K, "
		"M, G or T (powers of 1024).\n"
		"With --text on a terminal, control characters are shown as \\xNN, because any "
		"peer may have put them there. If others write to the memory meanwhile, the output "
		"may show halves of their writes.",
	CLI_OPTIONS(read_options),
	.json = "{\"offset\":O,\"length\":L,\"hex\":\"00ff...\"}\n"
		"With --text: {\"offset\":O,\"length\":L,\"text\":TEXT}, where each byte that is not\n"
		"UTF-8 is replaced by U+FFFD.",
	.statuses = "1 also if the memory ends before OFFSET + LENGTH; then nothing is printed.",
	.examples = "ivshmem read 0x100 64 --hex\n"
		    "ivshmem read 4K --text",
	.run = read_run,
};
