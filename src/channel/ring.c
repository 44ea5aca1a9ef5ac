/* SPDX-License-Identifier: BSD-2-Clause */
#include <channel/ring.h>

#include <channel/layout.h>

#include <errno.h>

/* A header: the length, how often the ring had been filled (16 bits), what it is, and a mark. */
#define HEADER_MARK   (UINT64_C(0xa5) << 56)
#define HEADER_RECORD (UINT64_C(1) << 48)
#define HEADER_FILLER (UINT64_C(2) << 48)

static uint64_t
make_header(uint64_t what, uint64_t position, uint32_t size, uint32_t length)
{
	return HEADER_MARK | what | (position / size & 0xffff) << 32 | length;
}

/* A record with its header, up to the next one. */
static uint64_t
step(uint32_t length)
{
	return RING_HEADER + (((uint64_t)length + 7) & ~UINT64_C(7));
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint64_t *
header_at(const struct ring_writer *writer, uint64_t position)
{
	return (uint64_t *)(void *)(writer->data + (position & (writer->size - 1)));
}

void
ring_writer_init(struct ring_writer *writer, void *data, uint32_t size, bool drain)
{
	*writer = (struct ring_writer){.data = data, .size = size, .drain = drain};
	word_store(header_at(writer, 0), 0);
}

/* The first header of a batch stays with us until the batch is published. */
static void
put(struct ring_writer *writer, uint64_t header, uint64_t next)
{
	if (writer->tail == writer->published)
		writer->first = header;
	else
		word_store(header_at(writer, writer->tail), header);
	writer->tail = next;
}

int
ring_refresh(struct ring_writer *writer, const uint64_t *head)
{
	uint64_t new_head = word_acquire(head);

	if (new_head - writer->head > writer->tail - writer->head)
		return -EPROTO;
	writer->head = new_head;
	return 0;
}

/* What would fill the ring up before a record of this length. */
static uint64_t
filler_before(const struct ring_writer *writer, uint32_t length)
{
	uint64_t to_end = writer->size - (writer->tail & (writer->size - 1));

	return step(length) > to_end ? to_end : 0;
}

/* The 0 that follows the record needs room, too. */
static uint64_t
end_of(const struct ring_writer *writer, uint32_t length)
{
	return writer->tail + filler_before(writer, length) + step(length) + RING_HEADER;
}

uint64_t
ring_needs(const struct ring_writer *writer, uint32_t length)
{
	return end_of(writer, length) - writer->size;
}

int
ring_reserve(struct ring_writer *writer, uint32_t length, const uint64_t *head, void **ret_bytes)
{
	uint64_t filler = filler_before(writer, length);
	uint64_t end = end_of(writer, length);

	if (end - writer->head > writer->size) {
		int r = ring_refresh(writer, head);

		if (r < 0)
			return r;
		if (end - writer->head > writer->size)
			return -EAGAIN;
	}
	if (filler)
		put(writer,
			make_header(HEADER_FILLER, writer->tail, writer->size,
				(uint32_t)filler - RING_HEADER),
			writer->tail + filler);
	writer->reserved = length;
	writer->reserving = true;
	*ret_bytes = (uint8_t *)header_at(writer, writer->tail) + RING_HEADER;
	return 0;
}

void
ring_commit(struct ring_writer *writer, uint32_t length)
{
	put(writer, make_header(HEADER_RECORD, writer->tail, writer->size, length),
		writer->tail + step(length));
	writer->reserving = false;
}

void
ring_publish(struct ring_writer *writer)
{
	if (writer->tail == writer->published)
		return;
	word_store(header_at(writer, writer->tail), 0);
#if defined(__x86_64__) || defined(__i386__)
	if (writer->drain)
		__asm__ volatile("sfence" ::: "memory");
#endif
	word_release(header_at(writer, writer->published), writer->first);
	writer->published = writer->tail;
}

/* How much may be in use when ring_has_space(). */
static uint64_t
used_at_most(const struct ring_writer *writer, uint32_t length)
{
	/* A filler before the record can be almost as large as the record. */
	uint64_t need = 2 * step(length);

	return writer->size - (need > writer->size / 2 ? need : writer->size / 2);
}

bool
ring_has_space(const struct ring_writer *writer, uint32_t length)
{
	return writer->tail - writer->head <= used_at_most(writer, length);
}

uint64_t
ring_space_at(const struct ring_writer *writer, uint32_t length)
{
	return writer->tail - used_at_most(writer, length) - 1;
}

/* ---- reading --------------------------------------------------------------------------------- */

void
ring_reader_init(struct ring_reader *reader, const void *data, uint32_t size)
{
	*reader = (struct ring_reader){.data = data, .size = size};
}

int
ring_peek(struct ring_reader *reader, const void **ret_bytes, uint32_t *ret_length)
{
	for (unsigned fillers = 0; fillers < 2; fillers++) {
		uint64_t offset = reader->position & (reader->size - 1);
		const uint8_t *place = reader->data + offset;
		uint64_t header = word_acquire((const uint64_t *)(const void *)place);
		uint32_t length = (uint32_t)header;

		if (header == 0)
			return -EAGAIN;
		if (header == make_header(HEADER_RECORD, reader->position, reader->size, length)) {
			if (length > ring_max_record(reader->size) ||
				step(length) > reader->size - offset)
				return -EPROTO;
			reader->length = length;
			reader->peeked = true;
			*ret_bytes = place + RING_HEADER;
			*ret_length = length;
			return 0;
		}
		/* A filler reaches to the end of the ring, and does not begin it. */
		if (offset == 0 ||
			header != make_header(HEADER_FILLER, reader->position, reader->size,
					  (uint32_t)(reader->size - offset - RING_HEADER)))
			return -EPROTO;
		reader->position += reader->size - offset;
	}
	return -EPROTO;
}

bool
ring_release(struct ring_reader *reader)
{
	reader->position += step(reader->length);
	reader->peeked = false;
	return reader->position - reader->told >= reader->size / 8;
}
