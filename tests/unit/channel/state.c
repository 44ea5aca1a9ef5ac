/* SPDX-License-Identifier: BSD-2-Clause */

/* States: the latest value, whole, and news of it. */

#include "channel_room.h"

#include <channel/channel.h>

#include <test.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SLOTS_ROOM 65536 /* the beginning of an area, with the slots */

struct pair {
	struct room room;
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *owner, *reader;
};

static void
pair_open(struct pair *pair, uint64_t length)
{
	const struct ivshmem_channel_options options = {sizeof(options), length};

	room_open_pair(&pair->room, &pair->here, &pair->there);
	CHECK_EQ(ivshmem_listen(&pair->owner, pair->here, "s", IVSHMEM_STATE, &options, NULL), 0);
	CHECK_EQ(ivshmem_connect(&pair->reader, pair->there, "s", IVSHMEM_STATE, NULL, 0, NULL), 0);
}

static void
pair_close(struct pair *pair)
{
	room_close_pair(&pair->room, pair->here, pair->there);
}

TEST(the_latest_value_and_none_before)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	struct ivshmem_channel *late;
	char buffer[16] = {0};
	uint64_t number = 0;
	struct pair pair;

	pair_open(&pair, 10);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 16, &number), -EAGAIN);
	CHECK_EQ(ivshmem_channel_wait(pair.reader, IVSHMEM_READABLE, 0), -ETIMEDOUT);
	CHECK_EQ(ivshmem_state_publish(pair.owner, "one", 3), 0);
	CHECK_EQ(ivshmem_channel_wait(pair.reader, IVSHMEM_READABLE, 0), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 16, &number), 3);
	CHECK_EQ(number, 1);
	CHECK_MEM(buffer, "one", 3);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 16, &number), -EAGAIN);
	CHECK_EQ(ivshmem_channel_wait(pair.reader, IVSHMEM_READABLE, 0), -ETIMEDOUT);
	for (unsigned i = 2; i < 100; i++)
		CHECK_EQ(ivshmem_state_publish(pair.owner, "0123456789", i % 11), 0);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 3, &number), 99 % 11);
	CHECK_EQ(number, 99);
	number = 0;
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 16, &number), 99 % 11);
	/* Who comes late sees it, too. */
	CHECK_EQ(ivshmem_connect(&late, pair.here, "s", IVSHMEM_STATE, NULL, 0, NULL), 0);
	number = 0;
	CHECK_EQ(ivshmem_state_read(late, buffer, 16, &number), 0);

	CHECK_EQ(ivshmem_channel_status(late, &status), 0);
	CHECK_EQ(status.max_record, 10);
	CHECK_EQ(ivshmem_state_publish(pair.owner, "01234567890", 11), -EMSGSIZE);
	CHECK_EQ(ivshmem_state_publish(pair.reader, "x", 1), -EINVAL);
	CHECK_EQ(ivshmem_state_read(pair.owner, buffer, 16, &number), -EINVAL);
	CHECK_EQ(ivshmem_accept(&late, pair.owner), -EINVAL);
	CHECK_EQ(ivshmem_channel_shutdown(pair.reader), -EINVAL);
	CHECK_EQ(ivshmem_channel_drain(pair.reader, 0), -EINVAL);
	CHECK_EQ(ivshmem_queue_send(pair.reader, "x", 1), -EINVAL);
	CHECK_EQ(ivshmem_queue_receive(pair.reader, buffer, 16), -EINVAL);
	CHECK_EQ(ivshmem_stream_read(pair.reader, buffer, 16), -EINVAL);
	pair_close(&pair);
}

TEST(the_end_of_a_state)
{
	char buffer[16];
	uint64_t number = 0;
	struct ivshmem_channel *other;
	struct pair pair;
	uint64_t free_before;

	pair_open(&pair, 0);
	CHECK_EQ(ivshmem_state_publish(pair.owner, "last", 4), 0);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 16, &number), 4);
	CHECK_EQ(ivshmem_state_publish(pair.owner, "last but one", 12), 0);
	ivshmem_channel_close(pair.owner);
	/* The name is free at once, the room when nobody reads any more. */
	CHECK_EQ(ivshmem_listen(&pair.owner, pair.here, "s", IVSHMEM_STATE, NULL, NULL), 0);
	free_before = heap_largest(&pair.here->heap);
	CHECK_EQ(ivshmem_channel_wait(pair.reader, IVSHMEM_READABLE, 5000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 16, &number), 12);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 16, &number), -EPIPE);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 16, &number), -EPIPE);
	ivshmem_channel_close(pair.reader);
	CHECK_EQ(ivshmem_participant_dispatch(pair.here), 0);
	CHECK_EQ(ivshmem_listen(&other, pair.here, "t", IVSHMEM_STATE, NULL, NULL), 0);
	CHECK_EQ(heap_largest(&pair.here->heap), free_before);
	pair_close(&pair);
}

/* Somebody thinks that the owner is dead, and another one has the area by now. */
TEST(an_owner_that_was_taken_for_dead_writes_nothing)
{
	uint8_t before[SLOTS_ROOM];
	struct pair pair;

	pair_open(&pair, 100);
	CHECK_EQ(ivshmem_state_publish(pair.owner, "one", 3), 0);
	word_store(participant_own_claim(pair.here),
		layout_claim(pair.here->generation + 1, LAYOUT_OWNED));
	memcpy(before, map_area(&pair.here->map, pair.here->area), sizeof(before));
	CHECK_EQ(ivshmem_state_publish(pair.owner, "two", 3), -ESTALE);
	CHECK_MEM(before, map_area(&pair.here->map, pair.here->area), sizeof(before));
	pair_close(&pair);
}

TEST(a_state_that_is_too_large)
{
	const struct ivshmem_channel_options options = {sizeof(options), 60000},
					     huge = {sizeof(huge), UINT64_C(1) << 31};
	struct ivshmem_error error;
	struct pair pair;

	pair_open(&pair, 0);
	ivshmem_channel_close(pair.owner);
	CHECK_EQ(ivshmem_listen(&pair.owner, pair.here, "t", IVSHMEM_STATE, &options, &error),
		-ENOSPC);
	CHECK_EQ(
		ivshmem_listen(&pair.owner, pair.here, "t", IVSHMEM_STATE, &huge, &error), -EINVAL);
	CHECK_HAS(error.message, "at most 1073741824 bytes");
	CHECK_EQ(ivshmem_listen(&pair.owner, pair.here, "t", IVSHMEM_STATE, NULL, &error), 0);
	pair_close(&pair);
}

TEST(descriptors_tell_of_news)
{
	struct ivshmem_channel *readers[3];
	uint64_t numbers[3] = {0};
	char buffer[16];
	struct pair pair;
	int fds[3];

	pair_open(&pair, 0);
	readers[0] = pair.reader;
	for (unsigned i = 1; i < 3; i++)
		CHECK_EQ(
			ivshmem_connect(&readers[i], pair.there, "s", IVSHMEM_STATE, NULL, 0, NULL),
			0);
	for (unsigned i = 0; i < 3; i++) {
		fds[i] = ivshmem_channel_fd(readers[i]);
		CHECK_EQ(ivshmem_state_read(readers[i], buffer, 16, &numbers[i]), -EAGAIN);
	}
	for (unsigned round = 1; round < 50; round++) {
		unsigned rings = pair.room.n_rings;

		CHECK(!is_readable(fds[0]) && !is_readable(fds[1]) && !is_readable(fds[2]));
		CHECK_EQ(ivshmem_state_publish(pair.owner, &round, sizeof(round)), 0);
		CHECK_EQ(ivshmem_state_publish(pair.owner, &round, sizeof(round)), 0);
		/* Nobody is rung twice for one sleep. */
		CHECK(pair.room.n_rings > rings && pair.room.n_rings <= rings + 3);
		for (unsigned i = 0; i < 3; i++) {
			CHECK(is_readable(fds[i]));
			CHECK_EQ(ivshmem_state_read(readers[i], buffer, 16, &numbers[i]),
				sizeof(round));
			CHECK_EQ(numbers[i], 2 * round);
		}
		for (unsigned i = 0; i < 3; i++)
			CHECK_EQ(ivshmem_state_read(readers[i], buffer, 16, &numbers[i]), -EAGAIN);
	}
	/* One who is gone is not rung any more. */
	for (unsigned i = 0; i < 3; i++)
		ivshmem_channel_close(readers[i]);
	CHECK_EQ(ivshmem_state_publish(pair.owner, "x", 1), 0);
	CHECK_EQ(pair.owner->n_subscribers, 0);
	pair_close(&pair);
}

/* ---- lies ------------------------------------------------------------------------------------ */

TEST(a_state_that_cannot_be)
{
	static const struct {
		uint64_t offset;
		uint32_t size;
	} wrong[] = {
		{0, 4096},
		{1, 4096},
		{64, 4096},
		{UINT64_MAX - 127, 4096},
		{ROOM_SIZE / 4, 4096},
		{ROOM_SIZE / 8, 0},
		{ROOM_SIZE / 8, UINT32_MAX},
		{ROOM_SIZE / 8, 1 << 30},
		{ROOM_SIZE / 8, ROOM_SIZE / 32},
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ivshmem_error error;
		struct pair pair;

		pair_open(&pair, 0);
		ivshmem_channel_close(pair.reader);
		pair.owner->own->ring_offset = wrong[i].offset;
		pair.owner->own->ring_size = wrong[i].size;
		CHECK_EQ(ivshmem_connect(
				 &pair.reader, pair.there, "s", IVSHMEM_STATE, NULL, 0, &error),
			-EPROTO);
		CHECK_HAS(error.message, "'s' is broken");
		pair_close(&pair);
	}
}

TEST(a_value_that_cannot_be)
{
	char buffer[64];
	uint64_t number = 0;
	uint64_t *slot;
	struct pair pair;

	pair_open(&pair, 10);
	CHECK_EQ(ivshmem_state_publish(pair.owner, "one", 3), 0);
	slot = (uint64_t *)(void *)(map_area(&pair.here->map, pair.here->area) +
				    pair.owner->block->offset + 128);
	CHECK_EQ(slot[0], 1);
	/* One that is being written all the time. */
	slot[0] = 0;
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 64, &number), -EAGAIN);
	slot[0] = 1;
	slot[1] = 11;
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 64, &number), -EPROTO);
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 64, &number), -EPROTO);
	pair_close(&pair);

	pair_open(&pair, 10);
	pair.owner->own->head = UINT64_MAX;
	CHECK_EQ(ivshmem_state_read(pair.reader, buffer, 64, &number), -EAGAIN);
	CHECK_EQ(number, 0);
	pair_close(&pair);
}

/* ---- two processes --------------------------------------------------------------------------- */

/* Where the memory is uncached, nothing but words is stored to it, as with rings. */
TEST(values_in_uncached_memory)
{
	struct ivshmem_participant *me;
	struct ivshmem_channel *state, *topic;
	struct room room;

	room_open(&room, ROOM_SIZE);
	me = room_join(&room, 0);
	me->map.drain = true;
	CHECK_EQ(ivshmem_listen(&state, me, "s", IVSHMEM_STATE, NULL, NULL), 0);
	CHECK_EQ(ivshmem_listen(&topic, me, "t", IVSHMEM_TOPIC, NULL, NULL), 0);
	CHECK(state->writer.drain);
	CHECK(topic->writer.drain);
	ivshmem_participant_close(me);
	room_close(&room);
}

/* Values of one byte each, with all lengths: whoever sees two bytes has seen two values. */
TEST_WITH(values_are_whole, .timeout_s = 120)
{
	struct ivshmem_participant *me;
	struct ivshmem_channel *state;
	uint8_t buffer[1000];
	uint64_t number = 0, last = 0, seen = 0;
	unsigned n = test_count(200000);
	const struct ivshmem_channel_options options = {sizeof(options), sizeof(buffer)};
	int64_t length;
	struct room room;
	pid_t child;

	room_open(&room, ROOM_SIZE);
	me = room_join(&room, 0);
	CHECK_EQ(ivshmem_listen(&state, me, "s", IVSHMEM_STATE, &options, NULL), 0);
	child = test_fork();
	if (child == 0) {
		me = room_join(&room, 1);
		CHECK_EQ(ivshmem_connect(&state, me, "s", IVSHMEM_STATE, NULL, 60000, NULL), 0);
		while ((length = ivshmem_state_read(state, buffer, sizeof(buffer), &number)) !=
			-EPIPE) {
			if (length == -EAGAIN) {
				CHECK(ivshmem_channel_wait(state, IVSHMEM_READABLE, 60000) > 0);
				continue;
			}
			CHECK(number > last);
			CHECK_EQ(length, number % 1000 + 1);
			for (int64_t i = 0; i < length; i++)
				CHECK_EQ(buffer[i], (uint8_t)number);
			last = number;
			seen++;
		}
		CHECK(seen > 0);
		CHECK_EQ(ivshmem_participant_rescues(me), 0);
		ivshmem_participant_close(me);
		_exit(0);
	}
	for (uint64_t i = 1; i <= n; i++) {
		memset(buffer, (int)(i & 0xff), sizeof(buffer));
		CHECK_EQ(ivshmem_state_publish(state, buffer, (size_t)(i % 1000 + 1)), 0);
		/* Now and then, the reader sleeps, and sees the very last one. */
		if (i % (n / 20 + 1) == 0)
			usleep(2000);
	}
	ivshmem_channel_close(state);
	test_join(child);
	ivshmem_participant_close(me);
	room_close(&room);
}
