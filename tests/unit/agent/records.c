/* SPDX-License-Identifier: BSD-2-Clause */

/* The records between an agent and its callers: what is one, and what is not. */

#include <agent/records.h>

#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- all but requests ------------------------------------------------------------------------ */

/* One of each, as it is on the way. `open`: more bytes may follow. */
static const struct example {
	const char *bytes;
	size_t length;
	struct record record;
	bool open;
} examples[] = {
	{"\2", 1, {.type = RECORD_ACCEPTED}, false},
	{"\3\177", 2, {.type = RECORD_FAILED, .number = 127}, true},
	{"\4\1", 2, {.type = RECORD_DATA, .stream = 1}, true},
	{"\5\2", 2, {.type = RECORD_END, .stream = 2}, false},
	{"\6\377", 2, {.type = RECORD_UNWANTED, .stream = 255}, false},
	{"\7\1\4\3\2\201", 6, {.type = RECORD_CREDIT, .stream = 1, .number = 0x81020304}, false},
	{"\20\17", 2, {.type = RECORD_SIGNAL, .number = 15}, false},
	{"\21\2\1\4\3", 5, {.type = RECORD_TERMINAL_SIZE, .rows = 0x102, .columns = 0x304}, false},
	{"\22\377", 2, {.type = RECORD_EXITED, .number = 255}, false},
	{"\23\11", 2, {.type = RECORD_KILLED, .number = 9}, false},
};

#define N_EXAMPLES (sizeof(examples) / sizeof(examples[0]))

TEST(records_are_parsed_and_formatted)
{
	for (unsigned i = 0; i < N_EXAMPLES; i++) {
		const struct example *example = &examples[i];
		struct record record;
		char bytes[RECORD_SMALL];

		CHECK_EQ(record_parse(&record, example->bytes, example->length), 0);
		CHECK_EQ(record.type, example->record.type);
		CHECK_EQ(record.stream, example->record.stream);
		CHECK_EQ(record.number, example->record.number);
		CHECK_EQ(record.rows, example->record.rows);
		CHECK_EQ(record.columns, example->record.columns);
		CHECK_EQ(record.length, 0);
		CHECK_EQ(record_format(bytes, &example->record), example->length);
		CHECK_MEM(bytes, example->bytes, example->length);
	}
}

TEST(records_of_a_wrong_length_are_none)
{
	for (unsigned i = 0; i < N_EXAMPLES; i++) {
		const struct example *example = &examples[i];
		struct record record = {.type = 99};
		char longer[RECORD_SMALL + 1];

		for (size_t length = 0; length < example->length; length++)
			CHECK_EQ(record_parse(&record, example->bytes, length), -EPROTO);
		memcpy(longer, example->bytes, example->length);
		longer[example->length] = 'x';
		CHECK_EQ(record.type, 99);
		if (!example->open) {
			CHECK_EQ(record_parse(&record, longer, example->length + 1), -EPROTO);
			continue;
		}
		CHECK_EQ(record_parse(&record, longer, example->length + 1), 0);
		CHECK(record.length == 1 && record.bytes[0] == 'x');
	}
}

static bool
is_example(unsigned type)
{
	for (unsigned i = 0; i < N_EXAMPLES; i++)
		if (examples[i].record.type == type)
			return true;
	return false;
}

TEST(types_that_are_not_known_are_none)
{
	for (unsigned type = 0; type < 256; type++) {
		const uint8_t bytes[2] = {(uint8_t)type, 1};
		struct record record;
		int r = record_parse(&record, bytes, sizeof(bytes));

		/* Those of other services carry anything. */
		if (type >= 32)
			CHECK(r == 0 && record.type == type && record.length == 1);
		else if (!is_example(type))
			CHECK_EQ(r, -EPROTO);
	}
}

TEST(the_longest_record)
{
	char *bytes = calloc(1, RECORD_MAX + 1);
	struct record record;

	CHECK(bytes);
	bytes[0] = RECORD_DATA;
	CHECK_EQ(record_parse(&record, bytes, RECORD_MAX), 0);
	CHECK_EQ(record.length, RECORD_MAX - RECORD_DATA_HEADER);
	CHECK_EQ(record_parse(&record, bytes, RECORD_MAX + 1), -EPROTO);
	free(bytes);
}

TEST(a_failure_has_its_sentence_as_far_as_there_is_room)
{
	char bytes[16];
	struct record record;

	CHECK_EQ(record_format_failure(bytes, sizeof(bytes), 126, "a sentence"), 12);
	CHECK_EQ(record_parse(&record, bytes, 12), 0);
	CHECK_EQ(record.number, 126);
	CHECK_MEM(record.bytes, "a sentence", 10);
	CHECK_EQ(record_format_failure(bytes, sizeof(bytes), 126, "a sentence of more"),
		sizeof(bytes));
	CHECK_MEM(bytes + 2, "a sentence of ", 14);
}

/* ---- requests -------------------------------------------------------------------------------- */

#define REQUEST "\1\1"

/* Bytes with a NUL at the end, which is part of them. */
static int
parse(const char *bytes, size_t size, const char *words)
{
	struct request request = {.service = "untouched"};
	struct ivshmem_error error = {.message = ""};
	/* What is read beyond the end, a sanitizer sees. */
	char *copy = malloc(size);
	int r;

	CHECK(copy);
	memcpy(copy, bytes, size);
	r = request_parse(&request, copy, size, &error);
	free(copy);
	if (r == 0) {
		request_free(&request);
		return 0;
	}
	CHECK_STR(request.service, "untouched");
	CHECK_EQ(error.code, r);
	CHECK_HAS(error.message, words);
	return r;
}

#define PARSE(bytes, words) parse(bytes, sizeof(bytes), words)

TEST(a_request)
{
	struct request_draft draft;
	struct request request;

	request_begin(&draft, "exec");
	request_add(&draft, "argument", "a=b");
	request_add(&draft, "argument", "");
	request_add(&draft, "directory", "/x");
	CHECK_EQ(request_finish(&draft), 0);
	CHECK_EQ(request_parse(&request, draft.bytes, draft.length, NULL), 0);
	free(draft.bytes);
	CHECK_STR(request.service, "exec");
	CHECK_EQ(request.n_fields, 3);
	CHECK_STR(request.fields[0].name, "argument");
	CHECK_STR(request.fields[0].value, "a=b");
	CHECK_STR(request.fields[1].value, "");
	CHECK_STR(request_value(&request, "argument"), "a=b");
	CHECK_STR(request_value(&request, "directory"), "/x");
	CHECK(!request_value(&request, "dir"));
	request_free(&request);
}

TEST(requests_that_make_no_sense)
{
	CHECK_EQ(PARSE(REQUEST "exec", ""), 0);
	CHECK_EQ(PARSE(REQUEST "exec\0a=", ""), 0);
	CHECK_EQ(parse("\1", 1, "no request"), -EPROTO);
	CHECK_EQ(PARSE("\2\1exec", "no request"), -EPROTO);
	CHECK_EQ(
		PARSE("\1\2exec", "this agent has version 1 of the protocol, and the caller has 2"),
		-EPROTONOSUPPORT);
	CHECK_EQ(PARSE("\1\377exec", "the caller has 255"), -EPROTONOSUPPORT);
	CHECK_EQ(parse(REQUEST, 2, "makes no sense"), -EPROTO);
	CHECK_EQ(parse(REQUEST "exec", 6, "makes no sense"), -EPROTO); /* no NUL */
	CHECK_EQ(PARSE(REQUEST "", "makes no sense"), -EPROTO);
	CHECK_EQ(PARSE(REQUEST "Exec", "makes no sense"), -EPROTO);
	CHECK_EQ(PARSE(REQUEST "exec\n", "makes no sense"), -EPROTO);
	CHECK_EQ(PARSE(REQUEST "abcdefghijabcdefghijabcdefghijabc", "makes no sense"), -EPROTO);
	CHECK_EQ(PARSE(REQUEST "exec\0", "makes no sense"), -EPROTO);  /* an empty field */
	CHECK_EQ(PARSE(REQUEST "exec\0a", "makes no sense"), -EPROTO); /* no = */
	CHECK_EQ(PARSE(REQUEST "exec\0=b", "makes no sense"), -EPROTO);
	CHECK_EQ(PARSE(REQUEST "exec\0a b=c", "makes no sense"), -EPROTO);
	CHECK_EQ(PARSE(REQUEST "exec\0a=b\0c", "makes no sense"), -EPROTO);
	CHECK_EQ(parse(REQUEST "exec\0a=b", 10, "makes no sense"), -EPROTO);
}

TEST(as_many_fields_as_there_may_be)
{
	struct request_draft draft;
	struct request request;

	request_begin(&draft, "x");
	for (unsigned i = 0; i < REQUEST_FIELDS_MAX; i++)
		request_add(&draft, "a", "");
	CHECK_EQ(request_finish(&draft), 0);
	CHECK_EQ(request_parse(&request, draft.bytes, draft.length, NULL), 0);
	CHECK_EQ(request.n_fields, REQUEST_FIELDS_MAX);
	request_free(&request);
	request_add(&draft, "a", "");
	CHECK_EQ(request_finish(&draft), 0);
	CHECK_EQ(parse(draft.bytes, draft.length, "makes no sense"), -EPROTO);
	free(draft.bytes);
}

TEST(a_request_that_is_too_long)
{
	char *word = malloc(RECORD_MAX + 1);
	struct request_draft draft;

	CHECK(word);
	memset(word, 'x', RECORD_MAX);
	/* The version, "exec", "a=" and the NULs take 10. */
	word[RECORD_MAX - 10] = '\0';
	request_begin(&draft, "exec");
	request_add(&draft, "a", word);
	CHECK_EQ(request_finish(&draft), 0);
	CHECK_EQ(draft.length, RECORD_MAX);
	CHECK_EQ(parse(draft.bytes, draft.length, ""), 0);
	request_add(&draft, "a", "");
	CHECK_EQ(request_finish(&draft), -EMSGSIZE);
	/* It stays so. */
	request_add(&draft, "", "");
	CHECK_EQ(request_finish(&draft), -EMSGSIZE);
	free(draft.bytes);
	free(word);
}
