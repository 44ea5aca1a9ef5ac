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
 *
 * What each record needs is inline, and ends in `here`, or in `next`. What is rare is not: the end
 * of the ring, a full ring, and headers of no record.
 */

#include <channel/layout.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_MIN_SIZE UINT32_C(256)
#define RING_MAX_SIZE (UINT32_C(1) << 31)
#define RING_HEADER   8

/* How far ahead the reader fetches lines into its cache. They are in the writer's, and no processor
 * guesses that they will be wanted. */
#define RING_AHEAD 2048

/* The largest record that always finds its place in an empty ring, wherever that begins. */
static inline uint32_t
ring_max_record(uint32_t size)
{
	return size / 2 - 2 * RING_HEADER;
}

/* A header: the length, how often the ring had been filled (16 bits), what it is, and a mark. */
#define RING_RECORD (UINT64_C(0xa501) << 48)
#define RING_FILLER (UINT64_C(0xa502) << 48)
#define RING_LOAN   (UINT64_C(0xa503) << 48) /* its content is a struct layout_loan */

/* The room of a record with its header, up to the next one. */
static inline uint64_t
ring_step(uint32_t length)
{
	return RING_HEADER + (((uint64_t)length + 7) & ~UINT64_C(7));
}

/* ---- writing --------------------------------------------------------------------------------- */

struct ring_writer {
	uint8_t *data;
	uint32_t size;
	unsigned shift; /* size is 1 << shift */
	bool drain;     /* stores to this memory may overtake each other (write-combining) */

	bool reserving;
	uint32_t reserved;  /* bytes, while `reserving` */
	uint64_t published; /* what the reader can see ends here */
	uint64_t tail;      /* what is committed ends here */
	uint64_t first;     /* the header that belongs at `published`, if the two differ */
	uint64_t head;      /* how far the reader is, as we know it */
};

/* Makes an empty ring in `size` bytes, a power of two from RING_MIN_SIZE to RING_MAX_SIZE. */
void ring_writer_init(struct ring_writer *writer, void *data, uint32_t size, bool drain);

static inline uint64_t *
ring_header_at(const struct ring_writer *writer, uint64_t position)
{
	return (uint64_t *)(void *)(writer->data + (position & (writer->size - 1)));
}

static inline uint64_t
ring_header(uint64_t what, uint64_t position, unsigned shift, uint32_t length)
{
	return what | (position >> shift & 0xffff) << 32 | length;
}

/* The first header of a batch stays with us until the batch is published. */
static inline void
ring_put(struct ring_writer *writer, uint64_t what, uint32_t length)
{
	uint64_t header = ring_header(what, writer->tail, writer->shift, length);

	if (writer->tail == writer->published)
		writer->first = header;
	else
		word_store(ring_header_at(writer, writer->tail), header);
	writer->tail += ring_step(length);
}

/*
 * Room for a record of `length` bytes, which is at most ring_max_record(). `head` is where the
 * reader tells its position. -EAGAIN: there is no room. -EPROTO: the head is impossible. A second
 * call replaces what the first one reserved.
 */
int ring_reserve(
	struct ring_writer *writer, uint32_t length, const uint64_t *head, void **ret_bytes);

/* The same where the record fits here, as far as the reader is known to be; else false. */
static inline bool
ring_reserve_here(struct ring_writer *writer, uint32_t length, void **ret_bytes)
{
	uint64_t offset = writer->tail & (writer->size - 1);
	uint64_t need = ring_step(length);

	/* The 0 that follows needs room, too. */
	if (need > writer->size - offset ||
		writer->tail + need + RING_HEADER - writer->head > writer->size)
		return false;
	writer->reserved = length;
	writer->reserving = true;
	*ret_bytes = writer->data + offset + RING_HEADER;
	return true;
}

/* The record is complete, with `length` bytes of those that were reserved; it is visible after
 * ring_publish(). */
static inline void
ring_commit(struct ring_writer *writer, uint32_t length)
{
	ring_put(writer, RING_RECORD, length);
	writer->reserving = false;
}

/* The same for the description of a loan, which was stored there. */
static inline void
ring_commit_loan(struct ring_writer *writer)
{
	ring_put(writer, RING_LOAN, sizeof(struct layout_loan));
	writer->reserving = false;
}

/*
 * Several records at once: those that find their place before the end of the ring, as far as the
 * reader is known to be. The loop that fills them keeps all of this in registers.
 */
struct ring_run {
	uint8_t *begin, *place;
	uint64_t room, free; /* bytes: for records of this run; in the ring */
	uint64_t what;       /* a header without its length */
	uint64_t first;      /* the header that belongs at the writer's `published` */
	uint32_t max;        /* bytes of a record */
};

static inline struct ring_run
ring_run_begin(const struct ring_writer *writer)
{
	uint64_t offset = writer->tail & (writer->size - 1);
	uint64_t to_end = writer->size - offset;
	struct ring_run run = {
		.begin = writer->data + offset,
		.place = writer->data + offset,
		/* The 0 that follows needs room, too. */
		.free = writer->head + writer->size - RING_HEADER - writer->tail,
		.what = ring_header(RING_RECORD, writer->tail, writer->shift, 0),
		.first = writer->first,
		.max = ring_max_record(writer->size),
	};

	run.room = run.free < to_end ? run.free : to_end;
	return run;
}

/* Lines that will be written are fetched for that: the reader has them, and a processor that stores
 * to one after the other has but few on the way. */
static inline void
ring_fetch_to_write(const void *place)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)place));
#else
	__builtin_prefetch(place, 1);
#endif
}

/* Whether a record of `length` bytes has its place. */
static inline bool
ring_run_fits(const struct ring_run *run, size_t length)
{
	return length <= run->max && ring_step((uint32_t)length) <= run->room;
}

/* The record's bytes are at `place` + RING_HEADER. */
static inline void
ring_run_put(const struct ring_writer *writer, struct ring_run *run, size_t length, bool is_first)
{
	uint64_t step = ring_step((uint32_t)length);

	if (is_first)
		run->first = run->what | length;
	else
		word_store((uint64_t *)(void *)run->place, run->what | length);
	if (run->free > RING_AHEAD)
		ring_fetch_to_write(
			writer->data + (((uint64_t)(run->place - writer->data) + RING_AHEAD) &
					       (writer->size - 1)));
	run->place += step;
	run->room -= step;
	run->free -= step;
}

static inline void
ring_run_end(struct ring_writer *writer, const struct ring_run *run)
{
	writer->first = run->first;
	writer->reserving = false;
	writer->tail += (uint64_t)(run->place - run->begin);
}

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

/* ---- reading --------------------------------------------------------------------------------- */

struct ring_reader {
	const uint8_t *data;
	uint32_t size;
	unsigned shift;
	uint64_t position; /* of the next header */
	uint64_t told;     /* our position as the writer knows it */
	uint64_t next;     /* where the last record ends that was peeked at; else `position` */
};

void ring_reader_init(struct ring_reader *reader, const void *data, uint32_t size);

/* Go on at this position, which the writer is told by the caller. */
static inline void
ring_move(struct ring_reader *reader, uint64_t position)
{
	reader->position = reader->told = reader->next = position;
}

/*
 * The next record: its bytes, which stay valid and may change until ring_release(), and its length.
 * The same one until it is released. 0, or 1 if it is the description of a loan. -EAGAIN: there is
 * none. -EPROTO: this is no header.
 */
int ring_peek(struct ring_reader *reader, const void **ret_bytes, uint32_t *ret_length);

/* Whether this header, at `position`, is that of a record, or what else is asked for, which lies in
 * the ring. */
static inline bool
ring_is(const struct ring_reader *reader, uint64_t what, uint64_t position, uint64_t header)
{
	uint32_t length = (uint32_t)header;

	return header == ring_header(what, position, reader->shift, length) &&
	       length <= ring_max_record(reader->size) &&
	       ring_step(length) <= reader->size - (position & (reader->size - 1));
}

/* A look at records that follow each other, up to the end of the ring. */
struct ring_look {
	const uint8_t *place; /* of the next header */
	uint64_t to_end;      /* from there, in bytes */
	uint64_t what;        /* a header without its length */
};

static inline struct ring_look
ring_look_at(const struct ring_reader *reader, uint64_t position)
{
	uint64_t offset = position & (reader->size - 1);

	return (struct ring_look){
		.place = reader->data + offset,
		.to_end = reader->size - offset,
		.what = ring_header(RING_RECORD, position, reader->shift, 0),
	};
}

/* The length of the next record, or negative if no record begins there. */
static inline int64_t
ring_look_next(const struct ring_reader *reader, struct ring_look *look, const void **ret_bytes)
{
	uint64_t header, step;
	uint32_t length;

	if (look->to_end == 0)
		return -1;
	header = word_acquire((const uint64_t *)(const void *)look->place);
	length = (uint32_t)header;
	step = ring_step(length);
	if (header != (look->what | length) || length > ring_max_record(reader->size) ||
		step > look->to_end)
		return -1;
	*ret_bytes = look->place + RING_HEADER;
	look->place += step;
	look->to_end -= step;
	__builtin_prefetch(
		reader->data + ((reader->size - look->to_end + RING_AHEAD) & (reader->size - 1)));
	return length;
}

/* All that was looked at will be released. */
static inline void
ring_look_end(struct ring_reader *reader, const struct ring_look *look)
{
	reader->next = (reader->next & ~(uint64_t)(reader->size - 1)) + reader->size - look->to_end;
}

/* ring_peek() in one step: the length, or negative if no record begins at `position`. */
static inline int64_t
ring_peek_here(struct ring_reader *reader, const void **ret_bytes)
{
	struct ring_look look = ring_look_at(reader, reader->position);
	int64_t length = ring_look_next(reader, &look, ret_bytes);

	reader->next = reader->position;
	if (length >= 0)
		ring_look_end(reader, &look);
	return length;
}

/* Whether there is something to release. */
static inline bool
ring_has_peeked(const struct ring_reader *reader)
{
	return reader->next != reader->position;
}

/* The records that were peeked at are done with. True if the writer should be told the position. */
static inline bool
ring_release(struct ring_reader *reader)
{
	reader->position = reader->next;
	return reader->position - reader->told >= reader->size / 8;
}

#endif
