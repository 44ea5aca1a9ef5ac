/* SPDX-License-Identifier: BSD-2-Clause */

/* One ring: any sizes at any place, full and empty, batches, and every header that is none. */

#include <channel/ring.h>

#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A ring with both sides, in memory with a guard of bytes that nobody may touch. */
struct ring {
	uint8_t *memory;
	uint32_t size;
	uint64_t head; /* where the reader tells its position */
	struct ring_writer writer;
	struct ring_reader reader;
};

#define GUARD 64

static void
ring_make(struct ring *ring, uint32_t size)
{
	*ring = (struct ring){.size = size};
	CHECK_EQ(posix_memalign((void **)&ring->memory, 128, size + GUARD), 0);
	memset(ring->memory, 0x5a, size + GUARD);
	ring_writer_init(&ring->writer, ring->memory, size, false);
	ring_reader_init(&ring->reader, ring->memory, size);
}

static void
ring_done(struct ring *ring)
{
	for (unsigned i = 0; i < GUARD; i++)
		CHECK_EQ(ring->memory[ring->size + i], 0x5a);
	free(ring->memory);
}

static uint8_t
byte_of(uint32_t record, uint32_t i)
{
	return (uint8_t)(record * 31 + i * 7 + 1);
}

static int
put(struct ring *ring, uint32_t record, uint32_t length)
{
	void *place;
	int r = ring_reserve(&ring->writer, length, &ring->head, &place);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < length; i++)
		((uint8_t *)place)[i] = byte_of(record, i);
	ring_commit(&ring->writer, length);
	return 0;
}

static void
tell(struct ring *ring)
{
	ring->head = ring->reader.told = ring->reader.position;
}

static int
take(struct ring *ring, uint32_t record, uint32_t length)
{
	const void *place;
	uint32_t found;
	int r = ring_peek(&ring->reader, &place, &found);

	if (r < 0)
		return r;
	CHECK_EQ(found, length);
	for (uint32_t i = 0; i < length; i++)
		CHECK_EQ(((const uint8_t *)place)[i], byte_of(record, i));
	if (ring_release(&ring->reader))
		tell(ring);
	return 0;
}

TEST(a_new_ring_is_empty_whatever_was_in_its_memory)
{
	struct ring ring;

	ring_make(&ring, 256);
	CHECK_EQ(take(&ring, 0, 0), -EAGAIN);
	CHECK_EQ(put(&ring, 1, 5), 0);
	CHECK_EQ(take(&ring, 1, 5), -EAGAIN);
	ring_publish(&ring.writer);
	CHECK_EQ(take(&ring, 1, 5), 0);
	CHECK_EQ(take(&ring, 2, 5), -EAGAIN);
	ring_done(&ring);
}

TEST(every_length_at_every_place)
{
	struct ring ring;
	uint32_t record = 0;

	ring_make(&ring, 256);
	/* One record at a time: the next one begins at each multiple of 8 with each length. */
	for (uint32_t round = 0; round < 64; round++)
		for (uint32_t length = 0; length <= ring_max_record(256); length++, record++) {
			CHECK_EQ(put(&ring, record, length), 0);
			ring_publish(&ring.writer);
			CHECK_EQ(take(&ring, record, length), 0);
			tell(&ring);
		}
	ring_done(&ring);
}

TEST(a_full_ring_takes_no_more_and_loses_nothing)
{
	for (uint32_t length = 0; length <= 100; length++) {
		struct ring ring;
		uint32_t first = 0, next = 0;

		ring_make(&ring, 1024);
		for (unsigned round = 0; round < 50; round++) {
			while (put(&ring, next, length) == 0) {
				ring_publish(&ring.writer);
				next++;
			}
			CHECK(next > first);
			/* Half of them out, so that the place moves on. */
			for (uint32_t n = (next - first + 1) / 2; n > 0; n--, first++)
				CHECK_EQ(take(&ring, first, length), 0);
			tell(&ring);
		}
		for (; first < next; first++)
			CHECK_EQ(take(&ring, first, length), 0);
		CHECK_EQ(take(&ring, first, length), -EAGAIN);
		ring_done(&ring);
	}
}

TEST(a_batch_appears_at_once)
{
	struct ring ring;

	ring_make(&ring, 4096);
	for (unsigned round = 0; round < 100; round++) {
		for (uint32_t i = 0; i < 20; i++) {
			CHECK_EQ(put(&ring, i, i), 0);
			CHECK_EQ(take(&ring, 0, 0), -EAGAIN);
		}
		ring_publish(&ring.writer);
		for (uint32_t i = 0; i < 20; i++)
			CHECK_EQ(take(&ring, i, i), 0);
		tell(&ring);
	}
	ring_done(&ring);
}

TEST(a_reservation_can_be_shortened_replaced_and_left)
{
	struct ring ring;
	void *place;

	ring_make(&ring, 512);
	for (unsigned round = 0; round < 100; round++) {
		CHECK_EQ(ring_reserve(&ring.writer, 240, &ring.head, &place), 0);
		CHECK_EQ(ring_reserve(&ring.writer, 40, &ring.head, &place), 0);
		memset(place, 7, 40);
		ring_commit(&ring.writer, 3);
		CHECK_EQ(ring_reserve(&ring.writer, 40, &ring.head, &place), 0);
		ring_publish(&ring.writer);
		{
			const void *record;
			uint32_t length;

			CHECK_EQ(ring_peek(&ring.reader, &record, &length), 0);
			CHECK_EQ(length, 3);
			CHECK_EQ(memcmp(record, "\7\7\7", 3), 0);
			ring_release(&ring.reader);
			tell(&ring);
		}
	}
	ring_done(&ring);
}

TEST(the_reader_tells_its_position_once_in_an_eighth)
{
	struct ring ring;
	unsigned told = 0;

	ring_make(&ring, 4096);
	for (uint32_t i = 0; i < 1024; i++) {
		const void *place;
		uint32_t length;

		CHECK_EQ(put(&ring, i, 56), 0);
		ring_publish(&ring.writer);
		CHECK_EQ(ring_peek(&ring.reader, &place, &length), 0);
		if (ring_release(&ring.reader)) {
			told++;
			tell(&ring);
		}
	}
	/* 1024 records of 64 bytes are 16 rings. */
	CHECK_EQ(told, 128);
	ring_done(&ring);
}

TEST(when_there_is_space_again)
{
	struct ring ring;
	uint32_t n = 0;

	ring_make(&ring, 1024);
	CHECK(ring_has_space(&ring.writer, ring_max_record(1024)));
	while (put(&ring, n, 56) == 0) {
		ring_publish(&ring.writer);
		n++;
	}
	for (uint32_t length = 0; length <= ring_max_record(1024); length += 8) {
		struct ring_writer writer = ring.writer;
		uint64_t at = ring_space_at(&writer, length);
		uint64_t head;

		CHECK(!ring_has_space(&writer, length));
		CHECK(at < writer.published);
		/* At this position there is none, past it there is. */
		head = at;
		CHECK_EQ(ring_refresh(&writer, &head), 0);
		CHECK(!ring_has_space(&writer, length));
		head = at + 1;
		CHECK_EQ(ring_refresh(&writer, &head), 0);
		CHECK(ring_has_space(&writer, length));
		{
			void *place;

			CHECK_EQ(ring_reserve(&writer, length, &head, &place), 0);
		}
	}
	ring_done(&ring);
}

TEST(a_head_that_cannot_be_is_refused)
{
	struct ring ring;
	void *place;
	const uint64_t wrong[] = {
		UINT64_MAX, UINT64_MAX - 7, 1 << 20, UINT64_C(1) << 32, UINT64_C(1) << 63};

	ring_make(&ring, 256);
	CHECK_EQ(put(&ring, 0, 100), 0);
	CHECK_EQ(put(&ring, 1, 100), 0);
	ring_publish(&ring.writer);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ring.head = wrong[i];
		CHECK_EQ(ring_refresh(&ring.writer, &ring.head), -EPROTO);
		CHECK_EQ(ring_reserve(&ring.writer, 100, &ring.head, &place), -EPROTO);
	}
	/* It cannot go back, either. */
	ring.head = 108;
	CHECK_EQ(ring_refresh(&ring.writer, &ring.head), 0);
	ring.head = 0;
	CHECK_EQ(ring_refresh(&ring.writer, &ring.head), -EPROTO);
	ring_done(&ring);
}

/* What peeking gives for this header at this place of a ring of 1024 bytes. */
static int
peek_at(struct ring *ring, uint64_t position, uint64_t header)
{
	const void *place;
	uint32_t length;
	int64_t here;
	int r;

	memset(ring->memory, 0, ring->size);
	memcpy(ring->memory + position % ring->size, &header, sizeof(header));
	ring_reader_init(&ring->reader, ring->memory, ring->size);
	ring->reader.position = position;
	/* What is quicker sees the same records. */
	here = ring_peek_here(&ring->reader, &place);
	r = ring_peek(&ring->reader, &place, &length);
	CHECK_EQ(here >= 0, r == 0 && ring->reader.position == position);
	if (r == 0) {
		CHECK((const uint8_t *)place + length <= ring->memory + ring->size);
		CHECK((const uint8_t *)place >= ring->memory + 8);
	}
	return r;
}

#define RECORD(lap, length) (UINT64_C(0xa501) << 48 | (uint64_t)(lap) << 32 | (length))
#define FILLER(lap, length) (UINT64_C(0xa502) << 48 | (uint64_t)(lap) << 32 | (length))

TEST(only_a_header_is_a_header)
{
	struct ring ring;

	ring_make(&ring, 1024);
	CHECK_EQ(peek_at(&ring, 0, 0), -EAGAIN);
	CHECK_EQ(peek_at(&ring, 0, RECORD(0, 0)), 0);
	CHECK_EQ(peek_at(&ring, 0, RECORD(0, 496)), 0);
	CHECK_EQ(peek_at(&ring, 0, RECORD(0, 497)), -EPROTO);
	CHECK_EQ(peek_at(&ring, 0, RECORD(0, UINT32_MAX)), -EPROTO);
	CHECK_EQ(peek_at(&ring, 0, RECORD(1, 0)), -EPROTO);
	CHECK_EQ(peek_at(&ring, 1024, RECORD(0, 0)), -EPROTO);
	CHECK_EQ(peek_at(&ring, 1024, RECORD(1, 0)), 0);
	/* The lap has 16 bits. */
	CHECK_EQ(peek_at(&ring, 1024 * 65536, RECORD(0, 0)), 0);
	CHECK_EQ(peek_at(&ring, UINT64_MAX - 1023, RECORD(65535, 0)), 0);
	/* Up to the end of the ring, and not further. */
	CHECK_EQ(peek_at(&ring, 1016, RECORD(0, 0)), 0);
	CHECK_EQ(peek_at(&ring, 1016, RECORD(0, 1)), -EPROTO);
	CHECK_EQ(peek_at(&ring, 960, RECORD(0, 56)), 0);
	CHECK_EQ(peek_at(&ring, 960, RECORD(0, 57)), -EPROTO);
	/* A filler reaches exactly to the end, and what follows it is looked at. */
	CHECK_EQ(peek_at(&ring, 960, FILLER(0, 56)), -EAGAIN);
	CHECK_EQ(peek_at(&ring, 960, FILLER(0, 55)), -EPROTO);
	CHECK_EQ(peek_at(&ring, 960, FILLER(0, 57)), -EPROTO);
	CHECK_EQ(peek_at(&ring, 0, FILLER(0, 1016)), -EPROTO);
	/* Each bit of a header counts. */
	for (unsigned bit = 32; bit < 64; bit++)
		CHECK_EQ(peek_at(&ring, 0, RECORD(0, 8) ^ UINT64_C(1) << bit), -EPROTO);
	ring_done(&ring);
}

TEST(positions_go_on_past_their_end)
{
	struct ring ring;

	/* Nobody sends 2^64 bytes, but nothing may depend on that. */
	ring_make(&ring, 256);
	ring.writer.published = ring.writer.tail = ring.writer.head = UINT64_MAX - 1023;
	ring.reader.position = ring.reader.told = ring.head = UINT64_MAX - 1023;
	for (uint32_t i = 0; i < 100; i++) {
		CHECK_EQ(put(&ring, i, 40), 0);
		ring_publish(&ring.writer);
		CHECK_EQ(take(&ring, i, 40), 0);
		tell(&ring);
	}
	CHECK(ring.writer.tail < 1 << 20);
	ring_done(&ring);
}
