/* SPDX-License-Identifier: BSD-2-Clause */
#include "records.h"

#include <base/error.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_OF_OTHERS 32

static uint32_t
load(const uint8_t *bytes, unsigned length)
{
	uint32_t value = 0;

	for (unsigned i = length; i-- > 0;)
		value = value << 8 | bytes[i];
	return value;
}

static uint8_t *
store(uint8_t *bytes, uint32_t value, unsigned length)
{
	for (unsigned i = 0; i < length; i++)
		*bytes++ = (uint8_t)(value >> 8 * i);
	return bytes;
}

/* ---- all but requests ------------------------------------------------------------------------ */

/* How a type looks: what follows the type byte, in this order. */
struct layout {
	bool known, stream, text; /* text: the rest of the record */
	unsigned number;          /* how many bytes it has */
	bool size;
};

static const struct layout layouts[] = {
	[RECORD_ACCEPTED] = {.known = true},
	[RECORD_FAILED] = {.known = true, .number = 1, .text = true},
	[RECORD_DATA] = {.known = true, .stream = true, .text = true},
	[RECORD_END] = {.known = true, .stream = true},
	[RECORD_UNWANTED] = {.known = true, .stream = true},
	[RECORD_CREDIT] = {.known = true, .stream = true, .number = 4},
	[RECORD_SIGNAL] = {.known = true, .number = 1},
	[RECORD_TERMINAL_SIZE] = {.known = true, .size = true},
	[RECORD_EXITED] = {.known = true, .number = 1},
	[RECORD_KILLED] = {.known = true, .number = 1},
};

static const struct layout others = {.known = true, .text = true};

static const struct layout *
layout_of(unsigned type)
{
	static const struct layout none = {.known = false};

	if (type >= FIRST_OF_OTHERS)
		return &others;
	return type < sizeof(layouts) / sizeof(layouts[0]) ? &layouts[type] : &none;
}

static size_t
header_length(const struct layout *layout)
{
	return 1u + (layout->stream ? 1u : 0u) + layout->number + (layout->size ? 4u : 0u);
}

int
record_parse(struct record *ret_record, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	const struct layout *layout;
	struct record record = {0};
	size_t header;

	if (length < 1 || length > RECORD_MAX)
		return -EPROTO;
	record.type = at[0];
	layout = layout_of(at[0]);
	header = header_length(layout);
	if (!layout->known || length < header || (length > header && !layout->text))
		return -EPROTO;
	at++;
	if (layout->stream)
		record.stream = *at++;
	record.number = load(at, layout->number);
	at += layout->number;
	if (layout->size) {
		record.rows = (uint16_t)load(at, 2);
		record.columns = (uint16_t)load(at + 2, 2);
		at += 4;
	}
	record.bytes = (const char *)at;
	record.length = length - header;
	*ret_record = record;
	return 0;
}

size_t
record_format(void *ret_bytes, const struct record *record)
{
	const struct layout *layout = layout_of(record->type);
	uint8_t *at = ret_bytes;

	*at++ = record->type;
	if (layout->stream)
		*at++ = record->stream;
	at = store(at, record->number, layout->number);
	if (layout->size) {
		at = store(at, record->rows, 2);
		at = store(at, record->columns, 2);
	}
	return (size_t)(at - (uint8_t *)ret_bytes);
}

size_t
record_format_failure(void *ret_bytes, size_t size, int status, const char *sentence)
{
	const struct record record = {.type = RECORD_FAILED, .number = (uint32_t)status};
	size_t header = record_format(ret_bytes, &record);
	size_t length = strlen(sentence);

	if (length > size - header)
		length = size - header;
	memcpy((char *)ret_bytes + header, sentence, length);
	return header + length;
}

/* ---- requests: reading ------------------------------------------------------------------------ */

/* Names are for programs: lower-case letters and '-'. */
static bool
is_name(const char *text, size_t length)
{
	if (length == 0 || length > 32)
		return false;
	for (size_t i = 0; i < length; i++)
		if ((text[i] < 'a' || text[i] > 'z') && text[i] != '-')
			return false;
	return true;
}

static int
count_strings(const char *strings, size_t length)
{
	int n = 0;

	for (size_t i = 0; i < length; i++)
		n += strings[i] == '\0';
	return n;
}

/* Cut the strings into names and values. */
static int
take_fields(struct request *request, char *text, const char *end)
{
	for (; text < end; text += strlen(text) + 1) {
		size_t name = strcspn(text, "=");

		if (text[name] != '=' || !is_name(text, name))
			return -EPROTO;
		text[name] = '\0';
		request->fields[request->n_fields++] =
			(struct request_field){.name = text, .value = text + name + 1};
		text += name + 1;
	}
	return 0;
}

static int
take_strings(struct request *request, const char *strings, size_t length)
{
	int n = count_strings(strings, length);

	if (length == 0 || strings[length - 1] != '\0' || n > 1 + REQUEST_FIELDS_MAX)
		return -EPROTO;
	request->bytes = malloc(length);
	request->fields = calloc((size_t)n, sizeof(*request->fields));
	if (!request->bytes || !request->fields)
		return -ENOMEM;
	memcpy(request->bytes, strings, length);
	request->service = request->bytes;
	if (!is_name(request->service, strlen(request->service)))
		return -EPROTO;
	return take_fields(
		request, request->bytes + strlen(request->service) + 1, request->bytes + length);
}

int
request_parse(
	struct request *ret_request, const void *bytes, size_t length, struct ivshmem_error *reterr)
{
	const char *text = bytes;
	struct request request = {0};
	int r;

	if (length < 2 || length > RECORD_MAX || text[0] != RECORD_REQUEST)
		return error_set(reterr, -EPROTO, "the first record is no request");
	if (text[1] != RECORDS_VERSION)
		return error_set(reterr, -EPROTONOSUPPORT,
			"this agent has version %d of the protocol, and the caller has %d: use the "
			"same version of ivshmem at both sides",
			RECORDS_VERSION, (uint8_t)text[1]);
	r = take_strings(&request, text + 2, length - 2);
	if (r < 0) {
		request_free(&request);
		return error_set(reterr, r, "%s",
			r == -ENOMEM ? "out of memory" : "the request makes no sense");
	}
	*ret_request = request;
	return 0;
}

void
request_free(struct request *request)
{
	free(request->bytes);
	free(request->fields);
	*request = (struct request){0};
}

const char *
request_value(const struct request *request, const char *name)
{
	for (unsigned i = 0; i < request->n_fields; i++)
		if (strcmp(request->fields[i].name, name) == 0)
			return request->fields[i].value;
	return NULL;
}

/* ---- requests: writing ------------------------------------------------------------------------ */

static void
append(struct request_draft *draft, const char *bytes, size_t length)
{
	if (draft->error)
		return;
	if (length > RECORD_MAX - draft->length) {
		draft->error = -EMSGSIZE;
		return;
	}
	if (length > draft->capacity - draft->length) {
		size_t capacity = 2 * (draft->length + length);
		char *larger = realloc(draft->bytes, capacity);

		if (!larger) {
			draft->error = -ENOMEM;
			return;
		}
		draft->bytes = larger;
		draft->capacity = capacity;
	}
	memcpy(draft->bytes + draft->length, bytes, length);
	draft->length += length;
}

void
request_begin(struct request_draft *draft, const char *service)
{
	const char header[] = {RECORD_REQUEST, RECORDS_VERSION};

	*draft = (struct request_draft){0};
	append(draft, header, sizeof(header));
	append(draft, service, strlen(service) + 1);
}

void
request_add(struct request_draft *draft, const char *name, const char *value)
{
	append(draft, name, strlen(name));
	append(draft, "=", 1);
	append(draft, value, strlen(value) + 1);
}

int
request_finish(const struct request_draft *draft)
{
	return draft->error;
}
