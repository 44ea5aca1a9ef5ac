/* SPDX-License-Identifier: BSD-2-Clause */
#include <channel/ring.h>

#include <errno.h>

/* ---- writing --------------------------------------------------------------------------------- */

void
ring_writer_init(struct ring_writer *writer, void *data, uint32_t size, bool drain)
{
	*writer = (struct ring_writer){
		.data = data, .size = size, .shift = (unsigned)__builtin_ctz(size), .drain = drain};
	word_store(ring_header_at(writer, 0), 0);
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

	return ring_step(length) > to_end ? to_end : 0;
}

/* The 0 that follows the record needs room, too. */
static uint64_t
end_of(const struct ring_writer *writer, uint32_t length)
{
	return writer->tail + filler_before(writer, length) + ring_step(length) + RING_HEADER;
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
		ring_put(writer, RING_FILLER, (uint32_t)filler - RING_HEADER);
	ring_reserve_here(writer, length, ret_bytes);
	return 0;
}

void
ring_publish(struct ring_writer *writer)
{
	if (writer->tail == writer->published)
		return;
	word_store(ring_header_at(writer, writer->tail), 0);
#if defined(__x86_64__) || defined(__i386__)
	if (writer->drain)
		__asm__ volatile("sfence" ::: "memory");
#endif
	word_release(ring_header_at(writer, writer->published), writer->first);
	writer->published = writer->tail;
}

/* How much may be in use when ring_has_space(). */
static uint64_t
used_at_most(const struct ring_writer *writer, uint32_t length)
{
	/* A filler before the record can be almost as large as the record. */
	uint64_t need = 2 * ring_step(length);

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
	*reader = (struct ring_reader){
		.data = data, .size = size, .shift = (unsigned)__builtin_ctz(size)};
}

int
ring_peek(struct ring_reader *reader, const void **ret_bytes, uint32_t *ret_length)
{
	reader->next = reader->position;
	for (;;) {
		uint64_t offset = reader->position & (reader->size - 1);
		const uint8_t *place = reader->data + offset;
		uint64_t header = word_acquire((const uint64_t *)(const void *)place);
		bool is_loan;

		if (header == 0)
			return -EAGAIN;
		is_loan = (uint32_t)header == sizeof(struct layout_loan) &&
			  ring_is(reader, RING_LOAN, reader->position, header);
		if (is_loan || ring_is(reader, RING_RECORD, reader->position, header)) {
			*ret_length = (uint32_t)header;
			*ret_bytes = place + RING_HEADER;
			reader->next = reader->position + ring_step(*ret_length);
			return is_loan;
		}
		/* A filler reaches to the end of the ring, and does not begin it. */
		if (offset == 0 ||
			header != ring_header(RING_FILLER, reader->position, reader->shift,
					  (uint32_t)(reader->size - offset - RING_HEADER)))
			return -EPROTO;
		reader->position += reader->size - offset;
		reader->next = reader->position;
	}
}
