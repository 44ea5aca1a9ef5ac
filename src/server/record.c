/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/record.h>

#include <base/error.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD         sizeof(uint64_t)
#define LENGTH_AT     (2 * FIELD)
#define PART_TEXT_MAX 64

/* ---- writing --------------------------------------------------------------------------------- */

/* Room for `n` more of `size` bytes each behind the first `count`; grows in powers of two. */
static void *
make_room(struct record *record, void *array, size_t count, size_t n, size_t size)
{
	size_t before = 1, after;
	void *grown;

	while (before < count)
		before *= 2;
	for (after = before; after < count + n;)
		after *= 2;
	if (array && after == before)
		return array;
	grown = reallocarray(array, after, size);
	record->failed |= !grown;
	return grown ? grown : array;
}

static void
store(struct record *record, size_t at, uint64_t value)
{
	uint64_t bytes = htole64(value);

	memcpy(record->bytes + at, &bytes, FIELD);
}

void
record_put(struct record *record, uint64_t value)
{
	if (!record->failed)
		record->bytes = make_room(record, record->bytes, record->size, FIELD, 1);
	if (record->failed)
		return;
	store(record, record->size, value);
	record->size += FIELD;
}

void
record_put_fds(struct record *record, const int *fds, size_t n)
{
	if (!record->failed && n > 0)
		record->fds = make_room(record, record->fds, record->n_fds, n, sizeof(*fds));
	if (record->failed || n == 0)
		return;
	memcpy(record->fds + record->n_fds, fds, n * sizeof(*fds));
	record->n_fds += n;
}

void
record_put_text(struct record *record, const char *text)
{
	size_t length = strlen(text);

	record_put(record, length);
	for (size_t at = 0; at < length; at += FIELD) {
		uint64_t letters = 0;

		memcpy(&letters, text + at, strnlen(text + at, FIELD));
		record_put(record, le64toh(letters));
	}
}

void
record_put_record(struct record *record, const struct record *inner)
{
	record_put(record, inner->size);
	record_put(record, inner->n_fds);
	for (size_t at = 0; at < inner->size; at += FIELD) {
		uint64_t value;

		memcpy(&value, inner->bytes + at, FIELD);
		record_put(record, le64toh(value));
	}
	record_put_fds(record, inner->fds, inner->n_fds);
}

/* The first field: the letters in their order. */
static uint64_t
name_number(const char *name)
{
	uint64_t number = 0;

	memcpy(&number, name, strnlen(name, FIELD));
	return le64toh(number);
}

void
record_begin(struct record *record, const char *name, uint64_t version)
{
	*record = (struct record){0};
	record_put(record, name_number(name));
	record_put(record, version);
	record_put(record, 0);
	record_put(record, 0);
}

int
record_end(struct record *record)
{
	if (record->failed)
		return -ENOMEM;
	store(record, LENGTH_AT, record->size);
	store(record, LENGTH_AT + FIELD, record->n_fds);
	return 0;
}

void
record_done(struct record *record)
{
	free(record->bytes);
	free(record->fds);
	*record = (struct record){0};
}

/* ---- reading --------------------------------------------------------------------------------- */

/* "the record of the roster", or "event 3 in the record of the roster". */
static const char *
where(const struct record_reader *reader, char text[PART_TEXT_MAX])
{
	if (reader->part)
		snprintf(text, PART_TEXT_MAX, "%s %" PRIu64 " in the record of the %s",
			reader->part, reader->number, reader->name);
	else
		snprintf(text, PART_TEXT_MAX, "the record of the %s", reader->name);
	return text;
}

void
record_refuse(struct record_reader *reader, const char *what)
{
	char text[PART_TEXT_MAX];

	if (reader->error == 0)
		reader->error = error_set(
			reader->reterr, -EINVAL, "%s is wrong: %s", where(reader, text), what);
}

uint64_t
record_get(struct record_reader *reader, const char *field, uint64_t min, uint64_t max)
{
	const struct record *record = reader->record;
	char text[PART_TEXT_MAX];
	uint64_t value;

	if (reader->error < 0)
		return min;
	if (record->size - reader->at < FIELD) {
		reader->error = error_set(reader->reterr, -EINVAL, "%s ends before the %s",
			where(reader, text), field);
		return min;
	}
	memcpy(&value, record->bytes + reader->at, FIELD);
	value = le64toh(value);
	if (min > max) {
		reader->error = error_set(reader->reterr, -EINVAL,
			"%s is wrong: there can be no %s any more", where(reader, text), field);
		return min;
	}
	if (value < min || value > max) {
		reader->error = error_set(reader->reterr, -EINVAL,
			"%s is wrong: the %s is %" PRIu64 ", and must be %" PRIu64 " to %" PRIu64,
			where(reader, text), field, value, min, max);
		return min;
	}
	reader->at += FIELD;
	return value;
}

void
record_open(struct record_reader *reader, const struct record *record, const char *name,
	uint64_t version, struct ivshmem_error *reterr)
{
	uint64_t number = name_number(name), found;

	*reader = (struct record_reader){.record = record, .name = name, .reterr = reterr};
	record_get(reader, "name", number, number);
	found = record_get(reader, "version", 1, UINT64_MAX);
	if (reader->error == 0 && found != version)
		reader->error = error_set(reterr, -EPROTONOSUPPORT,
			"the record of the %s has version %" PRIu64
			", and this server knows %" PRIu64,
			name, found, version);
	record_get(reader, "length", record->size, record->size);
	record_get(reader, "number of descriptors", record->n_fds, record->n_fds);
}

size_t
record_fds_left(const struct record_reader *reader)
{
	return reader->record->n_fds - reader->n_fds;
}

const int *
record_get_fds(struct record_reader *reader, size_t n)
{
	const int *fds = reader->record->fds + reader->n_fds;

	reader->n_fds += n;
	return fds;
}

void
record_get_text(struct record_reader *reader, const char *field, char *ret_text, size_t size)
{
	size_t length = (size_t)record_get(reader, field, 0, size - 1);

	memset(ret_text, 0, size);
	for (size_t at = 0; at < length && reader->error == 0; at += FIELD) {
		uint64_t letters = htole64(record_get(reader, field, 0, UINT64_MAX));
		size_t n = length - at < FIELD ? length - at : FIELD;

		memcpy(ret_text + at, &letters, n);
		if (memchr(&letters, '\0', n) || (n < FIELD && letters >> (n * 8) != 0))
			record_refuse(reader, "a text has another length than it says");
	}
	if (reader->error < 0)
		ret_text[0] = '\0';
}

void
record_get_record(struct record_reader *reader, const char *field, struct record *ret_inner)
{
	const struct record *record = reader->record;
	size_t size = (size_t)record_get(reader, field, 0, record->size);
	size_t n_fds =
		(size_t)record_get(reader, "number of its descriptors", 0, record_fds_left(reader));

	*ret_inner = (struct record){0};
	if (size % FIELD != 0 || size > record->size - reader->at)
		record_refuse(reader, "a record in it goes beyond its end");
	if (reader->error < 0)
		return;
	ret_inner->bytes = record->bytes + reader->at;
	ret_inner->size = size;
	ret_inner->fds = record->fds + reader->n_fds;
	ret_inner->n_fds = n_fds;
	reader->at += size;
	reader->n_fds += n_fds;
}

int
record_close(struct record_reader *reader)
{
	reader->part = NULL;
	if (reader->at < reader->record->size)
		record_refuse(reader, "it goes on after its end");
	if (record_fds_left(reader) > 0)
		record_refuse(reader, "more descriptors go along than it has a use for");
	return reader->error;
}
