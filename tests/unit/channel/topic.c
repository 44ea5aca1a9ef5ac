/* SPDX-License-Identifier: BSD-2-Clause */

/* Topics: each reader receives each record, or is told how many it has missed. */

#include "channel_room.h"

#include <channel/channel.h>

#include <base/clock.h>

#include <test.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pair {
	struct room room;
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *topic, *reader;
};

static void
pair_open(struct pair *pair, uint64_t ring_size, int patience_ms)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = ring_size, .patience_ms = patience_ms};

	room_open_pair(&pair->room, &pair->here, &pair->there);
	CHECK_EQ(ivshmem_listen(&pair->topic, pair->here, "t", IVSHMEM_TOPIC, &options, NULL), 0);
	CHECK_EQ(ivshmem_connect(&pair->reader, pair->there, "t", IVSHMEM_TOPIC, NULL, 0, NULL), 0);
}

static void
pair_close(struct pair *pair)
{
	room_close_pair(&pair->room, pair->here, pair->there);
}

/* A record that is a number, repeated. */
static int
publish(struct ivshmem_channel *topic, uint32_t number, size_t words)
{
	uint32_t record[512];

	for (size_t i = 0; i < words; i++)
		record[i] = number;
	return ivshmem_topic_publish(topic, record, words * sizeof(record[0]));
}

/* Its number, or what receiving returns. */
static int64_t
receive(struct ivshmem_channel *reader, uint64_t *ret_missed)
{
	uint32_t record[512];
	int64_t length = ivshmem_topic_receive(reader, record, sizeof(record), ret_missed);

	if (length < 0)
		return length;
	CHECK(length >= 4 && length % 4 == 0);
	for (int64_t i = 1; i < length / 4; i++)
		CHECK_EQ(record[i], record[0]);
	return record[0];
}

TEST(all_readers_receive_all_records_from_then_on)
{
	struct ivshmem_channel *late;
	uint64_t missed;
	struct pair pair;

	pair_open(&pair, 0, 0);
	CHECK_EQ(receive(pair.reader, &missed), -EAGAIN);
	CHECK_EQ(publish(pair.topic, 1, 1), 0);
	CHECK_EQ(publish(pair.topic, 2, 100), 0);
	CHECK_EQ(ivshmem_connect(&late, pair.there, "t", IVSHMEM_TOPIC, NULL, 0, NULL), 0);
	CHECK_EQ(publish(pair.topic, 3, 7), 0);
	for (unsigned i = 1; i <= 3; i++) {
		CHECK_EQ(receive(pair.reader, &missed), i);
		CHECK_EQ(missed, 0);
	}
	CHECK_EQ(receive(late, &missed), 3);
	CHECK_EQ(missed, 0);
	CHECK_EQ(receive(late, &missed), -EAGAIN);
	CHECK_EQ(receive(pair.reader, &missed), -EAGAIN);
	pair_close(&pair);
}

TEST(what_does_not_fit)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	uint32_t record[512] = {0};
	uint64_t missed;
	struct pair pair;

	pair_open(&pair, 1024, 0);
	CHECK_EQ(ivshmem_channel_status(pair.topic, &status), 0);
	CHECK_EQ(status.max_record, 1024 / 2 - 16 - 8);
	CHECK_EQ(ivshmem_channel_status(pair.reader, &status), 0);
	CHECK_EQ(status.max_record, 1024 / 2 - 16 - 8);
	for (unsigned i = 0; i < 50; i++) {
		CHECK_EQ(ivshmem_topic_publish(pair.topic, record, (size_t)status.max_record + 1),
			-EMSGSIZE);
		CHECK_EQ(publish(pair.topic, i, (size_t)status.max_record / 4), 0);
		CHECK_EQ(ivshmem_topic_receive(pair.reader, record, 4, &missed), -EMSGSIZE);
		CHECK_EQ(receive(pair.reader, &missed), i);
		CHECK_EQ(publish(pair.topic, i, 1 + i), 0);
		CHECK_EQ(receive(pair.reader, &missed), i);
	}
	CHECK_EQ(ivshmem_topic_publish(pair.reader, record, 4), -EINVAL);
	CHECK_EQ(ivshmem_topic_receive(pair.topic, record, 4, &missed), -EINVAL);
	CHECK_EQ(ivshmem_accept(&pair.reader, pair.topic), -EINVAL);
	CHECK_EQ(ivshmem_queue_send(pair.topic, record, 4), -EINVAL);
	CHECK_EQ(ivshmem_queue_receive(pair.reader, record, 4), -EINVAL);
	CHECK_EQ(ivshmem_channel_shutdown(pair.topic), -EINVAL);
	CHECK_EQ(ivshmem_channel_shutdown(pair.reader), -EINVAL);
	CHECK_EQ(ivshmem_channel_drain(pair.reader, 0), -EINVAL);
	pair_close(&pair);
}

TEST(a_reader_that_does_not_keep_up_is_told_how_many_it_missed)
{
	uint64_t missed;
	unsigned seed = 3;
	uint32_t next = 1, received = 0, sum_missed = 0;
	struct pair pair;

	pair_open(&pair, 4096, 0);
	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned n = (unsigned)rand_r(&seed) % 100; n > 0; n--)
			CHECK_EQ(publish(pair.topic, next++, 1 + (unsigned)rand_r(&seed) % 500), 0);
		for (unsigned n = (unsigned)rand_r(&seed) % 60; n > 0; n--) {
			int64_t number = receive(pair.reader, &missed);

			if (number == -EAGAIN) {
				CHECK_EQ(received + sum_missed, next - 1);
				break;
			}
			CHECK(number > 0);
			sum_missed += (uint32_t)missed;
			received++;
			CHECK_EQ(number, received + sum_missed);
		}
	}
	CHECK(received > 1000 && sum_missed > 1000);
	pair_close(&pair);
}

/* Who was overtaken finds them, whatever the publisher looks at before it ends. */
TEST(the_last_records_stay)
{
	for (unsigned words = 1; words < 60; words++) {
		uint64_t missed;
		uint32_t n = 0, received = 0;
		struct pair pair;
		int64_t r;

		pair_open(&pair, 1024, 0);
		do {
			CHECK_EQ(publish(pair.topic, ++n, words), 0);
			CHECK_EQ(ivshmem_channel_wait(pair.topic, IVSHMEM_WRITABLE, 0),
				IVSHMEM_WRITABLE);
		} while (pair.topic->own->head == 0 || n % 7 != 0);
		ivshmem_channel_close(pair.topic);
		while ((r = receive(pair.reader, &missed)) > 0) {
			CHECK_EQ(r, received + missed + 1);
			received = (uint32_t)r;
		}
		CHECK_EQ(r, -EPIPE);
		CHECK_EQ(received, n);
		pair_close(&pair);
	}
}

TEST(a_patient_publisher_waits)
{
	struct ivshmem_channel *quick;
	uint64_t missed;
	uint32_t n;
	struct pair pair;

	pair_open(&pair, 4096, -1);
	CHECK_EQ(ivshmem_connect(&quick, pair.there, "t", IVSHMEM_TOPIC, NULL, 0, NULL), 0);
	for (unsigned round = 0; round < 50; round++) {
		for (n = 0; publish(pair.topic, n, 10) == 0; n++)
			CHECK_EQ(receive(quick, &missed), n);
		CHECK(n > 20);
		CHECK_EQ(ivshmem_channel_wait(pair.topic, IVSHMEM_WRITABLE, 0), -ETIMEDOUT);
		for (uint32_t i = 0; i < n; i++) {
			CHECK_EQ(receive(pair.reader, &missed), i);
			CHECK_EQ(missed, 0);
		}
		CHECK_EQ(ivshmem_channel_wait(pair.topic, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
	}
	/* A reader that leaves does not hold anybody up. */
	while (publish(pair.topic, 0, 10) == 0)
		;
	ivshmem_channel_close(pair.reader);
	while (receive(quick, &missed) != -EAGAIN)
		;
	CHECK_EQ(ivshmem_channel_wait(pair.topic, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
	CHECK_EQ(publish(pair.topic, 0, 10), 0);
	pair_close(&pair);
}

TEST(patience_has_an_end)
{
	uint64_t missed;
	uint32_t n = 0;
	int64_t number;
	struct pair pair;

	pair_open(&pair, 4096, 20);
	while (publish(pair.topic, n, 10) == 0)
		n++;
	usleep(30000);
	CHECK_EQ(publish(pair.topic, n, 10), 0);
	number = receive(pair.reader, &missed);
	CHECK_EQ(number, missed);
	CHECK(missed > 0 && missed < n);
	pair_close(&pair);
}

/* Whoever has caught up has the whole patience again. */
TEST(patience_begins_anew)
{
	uint64_t missed;
	uint32_t n = 0;
	struct pair pair;

	pair_open(&pair, 4096, 200);
	while (publish(pair.topic, n, 10) == 0)
		n++;
	while (receive(pair.reader, &missed) != -EAGAIN)
		CHECK_EQ(missed, 0);
	CHECK_EQ(ivshmem_channel_wait(pair.topic, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
	CHECK_EQ(publish(pair.topic, n++, 10), 0);
	usleep(250000);
	while (publish(pair.topic, n, 10) == 0)
		CHECK(n++ < 1000);
	CHECK_EQ(publish(pair.topic, n, 10), -EAGAIN);
	CHECK(receive(pair.reader, &missed) > 0);
	CHECK_EQ(missed, 0);
	pair_close(&pair);
}

/* Nobody rings when patience ends, and the publisher goes on nevertheless. */
TEST(who_waits_learns_when_patience_ends)
{
	struct pollfd poll_fd = {.events = POLLIN};
	uint64_t missed, start;
	struct pair pair;

	for (int by_descriptor = 0; by_descriptor < 2; by_descriptor++) {
		pair_open(&pair, 4096, 100);
		if (by_descriptor)
			poll_fd.fd = ivshmem_channel_fd(pair.topic);
		while (publish(pair.topic, 0, 10) == 0)
			;
		start = clock_now();
		if (by_descriptor)
			CHECK_EQ(poll(&poll_fd, 1, 5000), 1);
		else
			CHECK_EQ(ivshmem_channel_wait(pair.topic, IVSHMEM_WRITABLE, 5000),
				IVSHMEM_WRITABLE);
		CHECK(clock_now() - start < 600 * NSEC_PER_MSEC);
		CHECK_EQ(publish(pair.topic, 0, 10), 0);
		CHECK_EQ(receive(pair.reader, &missed), 0);
		CHECK(missed > 0);
		CHECK_EQ(ivshmem_participant_rescues(pair.here), 0);
		pair_close(&pair);
	}
}

/* Another channel takes the interrupt that was meant for the topic. */
TEST(a_topic_keeps_its_readiness)
{
	struct ivshmem_channel *other;
	uint64_t missed;
	struct pair pair;
	int fd;

	pair_open(&pair, 4096, -1);
	CHECK_EQ(ivshmem_listen(&other, pair.here, "other", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK(ivshmem_channel_fd(other) >= 0);
	fd = ivshmem_channel_fd(pair.topic);
	while (publish(pair.topic, 0, 10) == 0)
		;
	CHECK(!is_readable(fd));
	while (receive(pair.reader, &missed) == 0)
		;
	CHECK_EQ(ivshmem_channel_wait(pair.reader, IVSHMEM_READABLE, 0), -ETIMEDOUT);
	CHECK_EQ(ivshmem_accept(&other, other), -EAGAIN);
	CHECK(is_readable(fd));
	CHECK_EQ(publish(pair.topic, 0, 10), 0);
	pair_close(&pair);
}

/* The publisher waits for a reader that dies without a word: nobody was to ring. */
TEST(a_reader_that_dies_holds_nobody_up)
{
	struct pair pair;

	pair_open(&pair, 4096, -1);
	while (publish(pair.topic, 0, 10) == 0)
		;
	pair.there->kernel = 0;
	map_identity(&pair.there->map, 1)->kernel = 0;
	pair.room.gone[1] = true;
	CHECK_EQ(ivshmem_channel_wait(pair.topic, IVSHMEM_WRITABLE, 5000), IVSHMEM_WRITABLE);
	CHECK_EQ(ivshmem_participant_rescues(pair.here), 0);
	pair_close(&pair);
}

/* With our driver, the ends of a topic learn of each other's death at once. */
TEST(publishers_and_readers_that_die_with_a_word)
{
	uint64_t missed, start;
	struct pair pair;

	pair_open(&pair, 4096, -1);
	CHECK_EQ(publish(pair.topic, 1, 10), 0);
	CHECK_EQ(pair.room.words[0].n_targets, 1);
	CHECK_EQ(pair.room.words[0].targets[0].peer, 1);
	CHECK_EQ(receive(pair.reader, &missed), 1);
	room_die(&pair.room, 0);
	start = clock_now();
	CHECK_EQ(ivshmem_channel_wait(pair.reader, IVSHMEM_READABLE, 5000), IVSHMEM_READABLE);
	CHECK(clock_now() - start < 500 * NSEC_PER_MSEC);
	CHECK_EQ(receive(pair.reader, &missed), -ECONNRESET);
	pair_close(&pair);

	pair_open(&pair, 4096, -1);
	while (publish(pair.topic, 0, 10) == 0)
		;
	room_die(&pair.room, 1);
	start = clock_now();
	CHECK_EQ(ivshmem_channel_wait(pair.topic, IVSHMEM_WRITABLE, 5000), IVSHMEM_WRITABLE);
	CHECK(clock_now() - start < 500 * NSEC_PER_MSEC);
	CHECK_EQ(ivshmem_participant_rescues(pair.here), 0);
	/* And nobody is rung for who is gone. */
	CHECK_EQ(pair.room.words[0].n_targets, 0);
	pair_close(&pair);
}

static int
see_phase(void *data, const struct ivshmem_channel_info *info)
{
	const char **phases = data;

	phases[info->area] = info->phase;
	return 0;
}

TEST(a_topic_that_has_ended_does_not_listen)
{
	const char *phases[2] = {0};
	struct pair pair;

	pair_open(&pair, 0, 0);
	CHECK_EQ(ivshmem_channels(pair.there, see_phase, phases), 0);
	CHECK_STR(phases[0], "listening");
	CHECK_STR(phases[1], "connecting");
	ivshmem_channel_close(pair.topic);
	CHECK_EQ(ivshmem_channels(pair.there, see_phase, phases), 0);
	CHECK_STR(phases[0], "ended");
	pair_close(&pair);
}

/* Somebody thinks that the publisher is dead, and another one has the area by now. */
TEST(a_publisher_that_was_taken_for_dead_writes_nothing)
{
	static uint8_t before[ROOM_SIZE / 8];
	uint64_t missed;
	struct pair pair;

	pair_open(&pair, 4096, 0);
	CHECK_EQ(publish(pair.topic, 1, 10), 0);
	word_store(participant_own_claim(pair.here),
		layout_claim(pair.here->generation + 1, LAYOUT_OWNED));
	memcpy(before, map_area(&pair.here->map, pair.here->area), sizeof(before));
	CHECK_EQ(publish(pair.topic, 2, 10), -ESTALE);
	CHECK_MEM(before, map_area(&pair.here->map, pair.here->area), sizeof(before));
	CHECK_EQ(receive(pair.reader, &missed), -ECONNRESET);
	pair_close(&pair);
}

TEST(the_end_of_a_topic)
{
	uint64_t missed;
	struct pair pair;
	struct ivshmem_channel *other;

	pair_open(&pair, 0, 0);
	CHECK_EQ(publish(pair.topic, 1, 1), 0);
	CHECK_EQ(publish(pair.topic, 2, 1), 0);
	CHECK_EQ(receive(pair.reader, &missed), 1);
	ivshmem_channel_close(pair.topic);
	CHECK_EQ(ivshmem_connect(&other, pair.there, "t", IVSHMEM_TOPIC, NULL, 0, NULL), -ENOENT);
	CHECK_EQ(receive(pair.reader, &missed), 2);
	CHECK_EQ(receive(pair.reader, &missed), -EPIPE);
	ivshmem_channel_close(pair.reader);
	CHECK_EQ(ivshmem_participant_dispatch(pair.here), 0);
	CHECK(list_empty(&pair.here->channels));
	pair_close(&pair);

	/* And of the whole participant. */
	pair_open(&pair, 0, 0);
	CHECK_EQ(publish(pair.topic, 1, 1), 0);
	ivshmem_participant_close(pair.here);
	CHECK_EQ(receive(pair.reader, &missed), 1);
	CHECK_EQ(receive(pair.reader, &missed), -EPIPE);
	ivshmem_participant_close(pair.there);
	room_close(&pair.room);
}

TEST(descriptors_of_readers_and_of_the_publisher)
{
	uint64_t missed;
	struct pair pair;
	int fd, topic_fd;

	pair_open(&pair, 4096, -1);
	fd = ivshmem_channel_fd(pair.reader);
	topic_fd = ivshmem_channel_fd(pair.topic);
	CHECK_EQ(receive(pair.reader, &missed), -EAGAIN);
	for (unsigned round = 0; round < 30; round++) {
		unsigned n = 0;

		CHECK(!is_readable(fd));
		while (publish(pair.topic, n, 10) == 0)
			n++;
		CHECK(is_readable(fd));
		CHECK(!is_readable(topic_fd));
		for (unsigned i = 0; i < n; i++)
			CHECK_EQ(receive(pair.reader, &missed), i);
		CHECK_EQ(receive(pair.reader, &missed), -EAGAIN);
		CHECK(is_readable(topic_fd));
	}
	pair_close(&pair);
}

static void
listen_anew(void *data)
{
	struct pair *pair = data;

	ivshmem_channel_close(pair->topic);
	CHECK_EQ(ivshmem_listen(&pair->topic, pair->here, "t", IVSHMEM_TOPIC, NULL, NULL), 0);
}

static void
listen_no_more(void *data)
{
	struct pair *pair = data;

	ivshmem_channel_close(pair->topic);
	CHECK_EQ(ivshmem_listen(&pair->topic, pair->here, "other", IVSHMEM_TOPIC, NULL, NULL), 0);
}

/* The publisher closes after it was found, and before it sees its new reader. */
TEST(a_topic_that_ends_at_this_moment)
{
	uint64_t missed;
	struct pair pair;

	pair_open(&pair, 0, 0);
	ivshmem_channel_close(pair.reader);
	pair.room.on_word = listen_anew;
	pair.room.on_word_data = &pair;
	CHECK_EQ(ivshmem_connect(&pair.reader, pair.there, "t", IVSHMEM_TOPIC, NULL, 0, NULL), 0);
	CHECK_EQ(publish(pair.topic, 1, 1), 0);
	CHECK_EQ(receive(pair.reader, &missed), 1);
	ivshmem_channel_close(pair.reader);

	pair.room.on_word = listen_no_more;
	CHECK_EQ(ivshmem_connect(&pair.reader, pair.there, "t", IVSHMEM_TOPIC, NULL, 0, NULL),
		-ENOENT);
	CHECK(list_empty(&pair.there->channels));
	pair_close(&pair);
}

/* ---- lies ------------------------------------------------------------------------------------ */

TEST(a_publisher_that_lies)
{
	/* The head is where it is, if it is 0. */
	static const struct {
		size_t word; /* of its entry */
		uint64_t value;
		bool at_connecting;
		uint64_t head;
	} wrong[] = {
		{offsetof(struct layout_entry, tail), 4, true, 0},
		{offsetof(struct layout_entry, tail), UINT64_MAX, true, 0},
		{offsetof(struct layout_entry, ring_offset), 0, true, 0},
		{offsetof(struct layout_entry, ring_size), 0, true, 0},
		{offsetof(struct layout_entry, ring_size), (uint64_t)1000 << 32, true, 0},
		{offsetof(struct layout_entry, head), 1 << 20, false, 0},
		{offsetof(struct layout_entry, head), INT64_MAX, false, 0},
		{offsetof(struct layout_entry, resume), 0, false, 64},
		{offsetof(struct layout_entry, resume), 68, false, 64},
		{offsetof(struct layout_entry, resume), UINT64_MAX, false, 64},
		{offsetof(struct layout_entry, resume), UINT64_MAX - 7, false, 64},
		{offsetof(struct layout_entry, resume), UINT64_C(1) << 63, false, 64},
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ivshmem_error error;
		uint64_t missed, *word;
		struct pair pair;

		pair_open(&pair, 1024, 0);
		word = (uint64_t *)(void *)((char *)pair.topic->own + wrong[i].word / 8 * 8);
		if (wrong[i].at_connecting) {
			ivshmem_channel_close(pair.reader);
			*word = wrong[i].value;
			CHECK_EQ(ivshmem_connect(&pair.reader, pair.there, "t", IVSHMEM_TOPIC, NULL,
					 0, &error),
				-EPROTO);
		} else {
			CHECK_EQ(publish(pair.topic, 1, 1), 0);
			*word = wrong[i].value;
			if (wrong[i].head != 0)
				pair.topic->own->head = wrong[i].head;
			CHECK_EQ(receive(pair.reader, &missed), -EPROTO);
			CHECK_EQ(receive(pair.reader, &missed), -EPROTO);
		}
		pair_close(&pair);
	}
}

TEST(records_that_cannot_be)
{
	/* The number of the second record, or (0) a record without one. */
	static const uint64_t numbers[] = {1, 0, UINT64_MAX};

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct ring_writer *writer;
		uint64_t missed;
		struct pair pair;
		void *place;

		pair_open(&pair, 1024, 0);
		writer = &pair.topic->writer;
		CHECK_EQ(publish(pair.topic, 1, 1), 0);
		CHECK_EQ(receive(pair.reader, &missed), 1);
		if (numbers[i] == 0) {
			CHECK_EQ(ring_reserve(writer, 7, &writer->head, &place), 0);
			ring_commit(writer, 7);
			ring_publish(writer);
		} else {
			pair.topic->number = numbers[i] - 1;
			CHECK_EQ(publish(pair.topic, 2, 1), 0);
		}
		if (numbers[i] == UINT64_MAX) {
			/* It may skip any number, but not come back. */
			CHECK_EQ(receive(pair.reader, &missed), 2);
			CHECK_EQ(missed, UINT64_MAX - 2);
			CHECK_EQ(publish(pair.topic, 3, 1), 0);
		}
		CHECK_EQ(receive(pair.reader, &missed), -EPROTO);
		CHECK_EQ(receive(pair.reader, &missed), -EPROTO);
		pair_close(&pair);
	}
}

/* Readers that are nowhere hold nobody up, and break nothing. */
TEST(a_reader_that_lies)
{
	static const uint64_t heads[] = {UINT64_MAX, 1, 7, 300, INT64_MAX, 1 << 20};

	for (unsigned i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct pair pair;

		pair_open(&pair, 1024, 0);
		for (unsigned n = 0; n < 100; n++) {
			pair.reader->own->head = heads[i];
			CHECK_EQ(publish(pair.topic, n, 30), 0);
		}
		pair_close(&pair);
	}
}

/* ---- two processes --------------------------------------------------------------------------- */

static void
between_processes(int patience_ms, unsigned n)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = 8192, .patience_ms = patience_ms};
	struct ivshmem_participant *me;
	struct ivshmem_channel *topic;
	uint64_t missed, total = 0;
	struct room room;
	pid_t children[2];
	int64_t r;

	room_open(&room, ROOM_SIZE);
	me = room_join(&room, 0);
	CHECK_EQ(ivshmem_listen(&topic, me, "t", IVSHMEM_TOPIC, &options, NULL), 0);
	for (int child = 0; child < 2; child++) {
		children[child] = test_fork();
		if (children[child] != 0)
			continue;
		me = room_join(&room, 1 + child);
		CHECK_EQ(ivshmem_connect(&topic, me, "t", IVSHMEM_TOPIC, NULL, 60000, NULL), 0);
		while ((r = receive(topic, &missed)) != -EPIPE) {
			if (r == -EAGAIN) {
				CHECK(ivshmem_channel_wait(topic, IVSHMEM_READABLE, 60000) > 0);
				continue;
			}
			CHECK(r > 0);
			/* The first one says where we begin. */
			if (total == 0)
				total = (uint64_t)r - 1 - missed;
			total += 1 + missed;
			CHECK_EQ(r, total);
			if (patience_ms < 0)
				CHECK_EQ(missed, 0);
		}
		/* The last one is not missed, whatever was before. */
		CHECK_EQ(total, n);
		CHECK_EQ(ivshmem_participant_rescues(me), 0);
		ivshmem_participant_close(me);
		_exit(0);
	}
	while (subscribers_look(topic) < 2)
		CHECK_EQ(ivshmem_participant_dispatch(me), 0);
	for (uint32_t i = 1; i <= n; i++)
		while ((r = publish(topic, i, 1 + i % 200)) != 0) {
			CHECK_EQ(r, -EAGAIN);
			CHECK(ivshmem_channel_wait(topic, IVSHMEM_WRITABLE, 60000) > 0);
		}
	ivshmem_channel_close(topic);
	for (int child = 0; child < 2; child++)
		test_join(children[child]);
	CHECK_EQ(ivshmem_participant_rescues(me), 0);
	ivshmem_participant_close(me);
	room_close(&room);
}

TEST_WITH(two_readers_in_other_processes, .timeout_s = 120)
{
	between_processes(-1, test_count(50000));
}

TEST_WITH(two_readers_that_may_miss_records, .timeout_s = 120)
{
	between_processes(0, test_count(200000));
}
