/* SPDX-License-Identifier: BSD-2-Clause */

/* Any sequence of calls on a ring, compared with a list of records. */

#include <channel/ring.h>

#include <random.h>
#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MOST 4096 /* records that a ring can hold */

struct record {
	uint32_t length;
	uint8_t first; /* its bytes count from this one */
};

/* What is true of a ring, told as a list: committed, published, received. */
struct naive {
	struct record records[MOST];
	unsigned received, published, committed; /* they count on, modulo MOST */
};

static uint64_t n_received;

struct pair {
	uint8_t *memory;
	uint32_t size;
	struct ring_writer writer;
	struct ring_reader reader;
	uint64_t head;
	struct naive naive;
};

static void
fill(uint8_t *bytes, const struct record *record)
{
	for (uint32_t i = 0; i < record->length; i++)
		bytes[i] = (uint8_t)(record->first + i);
}

static void
send_one(struct pair *pair, struct random_source *random)
{
	uint32_t most = ring_max_record(pair->size);
	uint32_t reserved = random_below(random, random_below(random, 4) == 0 ? most + 1 : 40);
	struct record record = {
		.length = random_below(random, reserved + 1),
		.first = (uint8_t)random_below(random, 256),
	};
	void *place;
	int r = ring_reserve(&pair->writer, reserved, &pair->head, &place);

	if (r == -EAGAIN) {
		/* An empty ring has room for everything, if the reader has told. */
		CHECK(pair->naive.committed != pair->naive.received ||
			pair->head != pair->reader.position);
		return;
	}
	CHECK_EQ(r, 0);
	CHECK((uint8_t *)place >= pair->memory &&
		(uint8_t *)place + reserved <= pair->memory + pair->size);
	/* Now and then, the record is not sent after all. */
	if (random_below(random, 10) == 0)
		return;
	fill(place, &record);
	ring_commit(&pair->writer, record.length);
	pair->naive.records[pair->naive.committed++ % MOST] = record;
}

/* As many as find their place at once, of a few. */
static void
send_run(struct pair *pair, struct random_source *random)
{
	bool is_first = pair->writer.tail == pair->writer.published;
	struct ring_run run = ring_run_begin(&pair->writer);
	unsigned wanted = random_below(random, 6);

	for (unsigned i = 0; i < wanted; i++) {
		struct record record = {
			.length = random_below(
				random, random_below(random, 8) == 0 ? pair->size : 40),
			.first = (uint8_t)random_below(random, 256),
		};

		if (!ring_run_fits(&run, record.length))
			break;
		CHECK(run.place + RING_HEADER + record.length <= pair->memory + pair->size);
		fill(run.place + RING_HEADER, &record);
		ring_run_put(&pair->writer, &run, record.length, is_first && i == 0);
		pair->naive.records[pair->naive.committed++ % MOST] = record;
	}
	ring_run_end(&pair->writer, &run);
	/* The 0 that follows has its place. */
	CHECK(pair->writer.tail + RING_HEADER - pair->writer.head <= pair->size);
}

static void
demand_record(const struct record *record, const void *place, int64_t length)
{
	uint8_t expected[4096];

	CHECK_EQ(length, record->length);
	fill(expected, record);
	CHECK_MEM(place, expected, (size_t)length);
}

/* All that follow each other, or a few of them. */
static void
receive_look(struct pair *pair, struct random_source *random)
{
	struct ring_look look = ring_look_at(&pair->reader, pair->reader.position);
	unsigned most = 1 + random_below(random, 10);
	const void *place;
	unsigned n = 0;
	int64_t length;

	pair->reader.next = pair->reader.position;
	while (n < most && (length = ring_look_next(&pair->reader, &look, &place)) >= 0) {
		CHECK(pair->naive.received + n < pair->naive.published);
		demand_record(
			&pair->naive.records[(pair->naive.received + n) % MOST], place, length);
		n++;
	}
	if (n == 0)
		return;
	ring_look_end(&pair->reader, &look);
	if (ring_release(&pair->reader))
		pair->head = pair->reader.told = pair->reader.position;
	pair->naive.received += n;
}

static void
receive_one(struct pair *pair, struct random_source *random)
{
	const struct record *record = &pair->naive.records[pair->naive.received % MOST];
	const void *place;
	uint32_t length;
	int r = ring_peek(&pair->reader, &place, &length);

	if (pair->naive.received == pair->naive.published) {
		CHECK_EQ(r, -EAGAIN);
		return;
	}
	CHECK_EQ(r, 0);
	demand_record(record, place, length);
	if (random_below(random, 5) == 0)
		return;
	if (ring_release(&pair->reader))
		pair->head = pair->reader.told = pair->reader.position;
	pair->naive.received++;
}

static void
sequence(struct random_source *random)
{
	struct pair pair = {.size = RING_MIN_SIZE << random_below(random, 6)};
	/* As if so many bytes had gone through already: past 2^32, and up to the last position. */
	const uint64_t starts[] = {0, UINT64_C(1) << 32, 0 - (uint64_t)pair.size * 7};
	uint64_t start = starts[random_below(random, 3)];

	CHECK_EQ(posix_memalign((void **)&pair.memory, 128, pair.size), 0);
	memset(pair.memory, 0x77, pair.size);
	ring_writer_init(&pair.writer, pair.memory, pair.size, false);
	ring_reader_init(&pair.reader, pair.memory, pair.size);
	pair.writer.tail = pair.writer.published = pair.writer.head = start;
	pair.reader.position = pair.reader.told = pair.head = start;
	for (unsigned i = 0; i < 5000; i++) {
		/* In turn, one of the two is quicker. */
		unsigned quick = i / 64 % 2 ? 6 : 3;
		unsigned what = random_below(random, 10);

		if (what < quick && random_below(random, 3) > 0)
			send_one(&pair, random);
		else if (what < quick)
			send_run(&pair, random);
		else if (what < 9 && random_below(random, 3) > 0)
			receive_one(&pair, random);
		else if (what < 9)
			receive_look(&pair, random);
		else if (random_below(random, 2) == 0)
			pair.head = pair.reader.told = pair.reader.position;
		if (random_below(random, 3) == 0) {
			ring_publish(&pair.writer);
			pair.naive.published = pair.naive.committed;
		}
		CHECK(pair.naive.committed - pair.naive.received < MOST);
	}
	n_received += pair.naive.received;
	free(pair.memory);
}

TEST_WITH(rings_against_lists, .timeout_s = 600)
{
	CHECK(random_sequences(sequence) > 0);
	CHECK(n_received > 0);
}
