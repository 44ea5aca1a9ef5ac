/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CHANNEL_RING_H
#define CHANNEL_RING_H

/*
 * A ring of records of any length: one writer, one reader, who share nothing but memory.
 *
 * Theory of operation. A position counts bytes since the ring was made, and never wraps; the bytes
 * lie at the position modulo the size. A record is a header of 8 bytes, then its bytes, then up to
 * 7 bytes so that the next record begins at a multiple of 8. A record lies in one piece: where it
 * does not fit before the end of the ring, a record without content fills the rest.
 *
 * The header is stored last, and is what the reader looks at: not 0 means that the record is
 * complete. Before the writer stores it, it stores a 0 where the next header will be. So old bytes
 * never look like a header, and a look costs the reader one cache line, which has the beginning of
 * the record, too. A batch of records is published by its first header, which is stored last.
 *
 * Each side keeps its own position in private memory. The reader tells the writer its position
 * (`head`) once in an eighth of the ring, because each time costs both of them a cache miss.
 *
 * Neither trusts the other. The reader checks each header for itself, and reads within the ring
 * only; the writer checks that the head lies between the last one and its own position.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_MIN_SIZE UINT32_C(256)
#define RING_MAX_SIZE (UINT32_C(1) << 31)
#define RING_HEADER   8

/* The largest record that always finds its place in an empty ring, wherever that begins. */
static inline uint32_t
ring_max_record(uint32_t size)
{
	return size / 2 - 2 * RING_HEADER;
}

struct ring_writer {
	uint8_t *data;
	uint32_t size;
	bool drain; /* stores to this memory may overtake each other (write-combining) */

	uint64_t published; /* what the reader can see ends here */
	uint64_t tail;      /* what is committed ends here */
	uint64_t first;     /* the header that belongs at `published`, if the two differ */
	uint64_t head;      /* how far the reader is, as we know it */
	uint32_t reserved;  /* bytes, while `reserving` */
	bool reserving;
};

/* Makes an empty ring in `size` bytes, a power of two from RING_MIN_SIZE to RING_MAX_SIZE. */
void ring_writer_init(struct ring_writer *writer, void *data, uint32_t size, bool drain);

/*
 * Room for a record of `length` bytes, which is at most ring_max_record(). `head` is where the
 * reader tells its position. -EAGAIN: there is no room. -EPROTO: the head is impossible. A second
 * call replaces what the first one reserved.
 */
int ring_reserve(
	struct ring_writer *writer, uint32_t length, const uint64_t *head, void **ret_bytes);

/* The record is complete, with `length` bytes of those that were reserved; it is visible after
 * ring_publish(). */
void ring_commit(struct ring_writer *writer, uint32_t length);

/* The reader sees all that was committed. */
void ring_publish(struct ring_writer *writer);

/* Look how far the reader is. -EPROTO: that is impossible. */
int ring_refresh(struct ring_writer *writer, const uint64_t *head);

/* The position that the reader must have reached before ring_reserve() succeeds. */
uint64_t ring_needs(const struct ring_writer *writer, uint32_t length);

/*
 * Whether, as far as we know, half of the ring is free, and there is room for a record of `length`
 * bytes wherever it begins.
 */
bool ring_has_space(const struct ring_writer *writer, uint32_t length);

/* If not: when the reader has received past this position, there will be. */
uint64_t ring_space_at(const struct ring_writer *writer, uint32_t length);

struct ring_reader {
	const uint8_t *data;
	uint32_t size;
	uint64_t position; /* of the next header */
	uint64_t told;     /* our position as the writer knows it */
	uint32_t length;   /* of the record that was peeked at, if `peeked` */
	bool peeked;
};

void ring_reader_init(struct ring_reader *reader, const void *data, uint32_t size);

/*
 * The next record: its bytes, which stay valid and may change until ring_release(), and its length.
 * The same one until it is released. -EAGAIN: there is none. -EPROTO: this is no header.
 */
int ring_peek(struct ring_reader *reader, const void **ret_bytes, uint32_t *ret_length);

/* The record that was peeked at is done with. True if the writer should be told the position. */
bool ring_release(struct ring_reader *reader);

#endif
