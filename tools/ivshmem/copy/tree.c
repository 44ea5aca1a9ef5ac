/* SPDX-License-Identifier: BSD-2-Clause */
#include "tree.h"

#include <base/words.h>

#include <endian.h>
#include <errno.h>
#include <string.h>

struct wire_head {
	uint8_t type;
	uint8_t unused;
	uint16_t name_length;
	uint32_t file;
	uint64_t value;
};

struct wire_entry {
	uint32_t mode, uid, gid, nanoseconds;
	uint64_t seconds;
	uint64_t size;
};

_Static_assert(sizeof(struct wire_head) == TREE_HEAD, "a head has 16 bytes");
_Static_assert(sizeof(struct wire_entry) == 32, "an entry has 32 bytes");

/* What follows the head. */
struct shape {
	unsigned numbers;
	bool entry, text, bytes;
};

static bool
find_shape(unsigned type, struct shape *ret_shape)
{
	struct shape shape = {0};

	switch (type) {
	case TREE_UP:
	case TREE_GIVE_UP:
	case TREE_END:
	case TREE_MARKS_END:
	case TREE_SKIP:
	case TREE_TAKEN:
		break;
	case TREE_TOTAL:
	case TREE_HOLE:
	case TREE_FILE_END:
	case TREE_DONE:
		shape.numbers = 1;
		break;
	case TREE_RESUME:
	case TREE_MARK:
		shape.numbers = 2;
		break;
	case TREE_FOLDER:
	case TREE_FILE:
		shape.entry = true;
		break;
	case TREE_LINK:
		shape.entry = shape.text = true;
		break;
	case TREE_PROBLEM:
		shape.text = true;
		break;
	case TREE_DATA:
		shape.bytes = true;
		break;
	default:
		return false;
	}
	*ret_shape = shape;
	return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What is left of a record. */
struct rest {
	const uint8_t *shared;
	size_t length;
};

static bool
take(struct rest *rest, void *to, size_t length)
{
	if (rest->length < length)
		return false;
	words_load(to, rest->shared, length);
	rest->shared += length;
	rest->length -= length;
	return true;
}

static bool
take_numbers(struct rest *rest, struct tree_record *record, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!take(rest, &record->numbers[i], sizeof(record->numbers[i])))
			return false;
		record->numbers[i] = le64toh(record->numbers[i]);
	}
	return true;
}

/* A text has at least a byte, and no NUL. */
static bool
take_text(struct rest *rest, char *to, size_t length, size_t size)
{
	if (length == 0 || length >= size || !take(rest, to, length))
		return false;
	to[length] = '\0';
	return strlen(to) == length;
}

static bool
take_entry(struct rest *rest, struct tree_record *record, size_t name_length)
{
	struct wire_entry wire;

	if (!take(rest, &wire, sizeof(wire)))
		return false;
	record->entry = (struct tree_entry){
		.mode = le32toh(wire.mode),
		.uid = le32toh(wire.uid),
		.gid = le32toh(wire.gid),
		.nanoseconds = le32toh(wire.nanoseconds),
		.seconds = (int64_t)le64toh(wire.seconds),
		.size = le64toh(wire.size),
	};
	if (record->entry.mode > 07777 || record->entry.nanoseconds >= 1000000000 ||
		record->entry.size > INT64_MAX)
		return false;
	if (name_length == 0 && record->type == TREE_FOLDER)
		return true;
	/* Of one thing in one folder: nothing that leads to another one. */
	return take_text(rest, record->name, name_length, sizeof(record->name)) &&
	       !strchr(record->name, '/') && strcmp(record->name, ".") != 0 &&
	       strcmp(record->name, "..") != 0;
}

int
tree_read(struct tree_record *ret_record, const void *shared, size_t length)
{
	struct rest rest = {shared, length};
	struct wire_head head;
	struct shape shape;

	if (!take(&rest, &head, sizeof(head)) || !find_shape(head.type, &shape))
		return -EPROTO;
	ret_record->type = (enum tree_record_type)head.type;
	ret_record->file = le32toh(head.file);
	ret_record->value = le64toh(head.value);
	ret_record->name[0] = ret_record->text[0] = '\0';
	/* An offset or a size. */
	if (ret_record->value > INT64_MAX)
		return -EPROTO;
	if (!take_numbers(&rest, ret_record, shape.numbers))
		return -EPROTO;
	if (shape.entry && !take_entry(&rest, ret_record, le16toh(head.name_length)))
		return -EPROTO;
	if (shape.text &&
		!take_text(&rest, ret_record->text, rest.length, sizeof(ret_record->text)))
		return -EPROTO;
	ret_record->bytes = rest.shared;
	ret_record->length = rest.length;
	return (rest.length > 0) == shape.bytes ? 0 : -EPROTO;
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint8_t *
put(uint8_t *to, const void *from, size_t length)
{
	memcpy(to, from, length);
	return to + length;
}

size_t
tree_write(const struct tree_record *record, uint8_t buffer[TREE_SMALL_MAX])
{
	size_t name_length = strlen(record->name);
	struct wire_head head = {
		.type = (uint8_t)record->type,
		.name_length = htole16((uint16_t)name_length),
		.file = htole32(record->file),
		.value = htole64(record->value),
	};
	const struct tree_entry *entry = &record->entry;
	struct wire_entry wire = {
		.mode = htole32(entry->mode),
		.uid = htole32(entry->uid),
		.gid = htole32(entry->gid),
		.nanoseconds = htole32(entry->nanoseconds),
		.seconds = htole64((uint64_t)entry->seconds),
		.size = htole64(entry->size),
	};
	uint8_t *at = put(buffer, &head, sizeof(head));
	struct shape shape = {0};

	find_shape(record->type, &shape);
	for (unsigned i = 0; i < shape.numbers; i++) {
		uint64_t number = htole64(record->numbers[i]);

		at = put(at, &number, sizeof(number));
	}
	if (shape.entry) {
		at = put(at, &wire, sizeof(wire));
		at = put(at, record->name, name_length);
	}
	if (shape.text)
		at = put(at, record->text, strlen(record->text));
	return (size_t)(at - buffer);
}

void
tree_write_data(void *shared, uint32_t file, uint64_t offset)
{
	struct wire_head head = {
		.type = TREE_DATA,
		.file = htole32(file),
		.value = htole64(offset),
	};

	words_store(shared, &head, sizeof(head));
}

/* ---- waiting for room ------------------------------------------------------------------------ */

void
outbox_add(struct outbox *outbox, const struct tree_record *record)
{
	/* A step that says more than there is room for would be our fault. What it says last is lost
	 * then. */
	if (outbox->n == OUTBOX_RECORDS)
		return;
	outbox->lengths[outbox->n] = tree_write(record, outbox->bytes[outbox->n]);
	outbox->n++;
}

int
outbox_send(struct outbox *outbox)
{
	int r;

	for (; outbox->first < outbox->n; outbox->first++) {
		void *place;
		size_t length = outbox->lengths[outbox->first];

		r = ivshmem_queue_reserve(outbox->channel, length, &place);
		if (r < 0)
			return r;
		words_store(place, outbox->bytes[outbox->first], length);
		r = ivshmem_queue_commit(outbox->channel, length);
		if (r < 0)
			return r;
	}
	outbox->first = outbox->n = 0;
	return 0;
}
