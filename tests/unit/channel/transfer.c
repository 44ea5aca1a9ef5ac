/* SPDX-License-Identifier: BSD-2-Clause */

/* Records and bytes through channels: order, back-pressure, descriptors, waking. */

#include "channel_room.h"

#include <test.h>

#include <base/clock.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pair {
	struct room room;
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
};

static void
pair_open(struct pair *pair, enum ivshmem_channel_kind kind, uint64_t ring_size)
{
	room_open_pair(&pair->room, &pair->here, &pair->there);
	room_connect(pair->here, pair->there, kind, ring_size, &pair->one, &pair->other);
}

static void
pair_close(struct pair *pair)
{
	room_close_pair(&pair->room, pair->here, pair->there);
}

/* ---- queues ---------------------------------------------------------------------------------- */

TEST(the_longest_record)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	struct pair pair;
	uint8_t *record;

	pair_open(&pair, IVSHMEM_QUEUE, 4096);
	CHECK_EQ(ivshmem_channel_status(pair.one, &status), 0);
	CHECK_EQ(status.max_record, 4096 / 2 - 16);
	record = calloc(1, 4096);
	for (unsigned i = 0; i < 100; i++) {
		memset(record, (int)i, 4096);
		CHECK_EQ(ivshmem_queue_send(pair.one, record, (size_t)status.max_record + 1),
			-EMSGSIZE);
		CHECK_EQ(ivshmem_queue_send(pair.one, record, (size_t)status.max_record), 0);
		memset(record, 0xff, 4096);
		CHECK_EQ(ivshmem_queue_receive(pair.other, record, 4096), status.max_record);
		for (unsigned j = 0; j < status.max_record; j++)
			CHECK_EQ(record[j], i);
		/* It moves on by another length each time. */
		CHECK_EQ(ivshmem_queue_send(pair.one, record, i), 0);
		CHECK_EQ(ivshmem_queue_receive(pair.other, record, 4096), i);
		/* Who finds nothing for a while tells how far it is. */
		for (unsigned j = 0; j < 64; j++)
			CHECK_EQ(ivshmem_queue_receive(pair.other, record, 4096), -EAGAIN);
	}
	free(record);
	pair_close(&pair);
}

TEST(peek_and_release)
{
	const void *record, *again;
	struct pair pair;

	pair_open(&pair, IVSHMEM_QUEUE, 0);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), -EAGAIN);
	CHECK_EQ(ivshmem_queue_release(pair.other), -EINVAL);
	CHECK_EQ(ivshmem_queue_send(pair.one, "first", 5), 0);
	CHECK_EQ(ivshmem_queue_send(pair.one, "second", 6), 0);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), 5);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &again), 5);
	CHECK(record == again);
	CHECK_MEM(record, "first", 5);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);
	CHECK_EQ(ivshmem_queue_release(pair.other), -EINVAL);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), 6);
	CHECK_MEM(record, "second", 6);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);
	pair_close(&pair);
}

TEST(reserve_commit_publish_flush)
{
	const void *record;
	void *place;
	struct pair pair;

	pair_open(&pair, IVSHMEM_QUEUE, 0);
	CHECK_EQ(ivshmem_queue_commit(pair.one, 0), -EINVAL);
	CHECK_EQ(ivshmem_queue_reserve(pair.one, 10, &place), 0);
	CHECK_EQ(ivshmem_queue_commit(pair.one, 11), -EINVAL);
	memcpy(place, "abc", 3);
	CHECK_EQ(ivshmem_queue_commit(pair.one, 3), 0);
	CHECK_EQ(ivshmem_queue_commit(pair.one, 3), -EINVAL);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), -EAGAIN);
	CHECK_EQ(ivshmem_queue_publish(pair.one), 0);
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), 3);
	CHECK_EQ(ivshmem_queue_flush(pair.one), 0);
	pair_close(&pair);
}

/* What is reserved when sending ends is not sent, and harms nothing. */
TEST(a_record_that_is_reserved_at_shutdown)
{
	char buffer[16];
	struct pair pair;
	void *place;

	pair_open(&pair, IVSHMEM_QUEUE, 4096);
	CHECK_EQ(ivshmem_queue_reserve(pair.one, 3, &place), 0);
	CHECK_EQ(ivshmem_queue_commit(pair.one, 3), 0);
	CHECK_EQ(ivshmem_queue_reserve(pair.one, 5, &place), 0);
	CHECK_EQ(ivshmem_channel_shutdown(pair.one), 0);
	CHECK_EQ(ivshmem_queue_commit(pair.one, 5), -EINVAL);
	CHECK_EQ(ivshmem_queue_flush(pair.one), -EPIPE);
	/* What was committed was sent. */
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 16), 3);
	CHECK_EQ(ivshmem_channel_wait(pair.other, IVSHMEM_READABLE, 0), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 16), -EPIPE);
	pair_close(&pair);
}

TEST(a_full_queue_is_writable_when_half_of_it_is_free)
{
	unsigned sent = 0, received = 0;
	char record[56] = {0};
	struct pair pair;

	pair_open(&pair, IVSHMEM_QUEUE, 4096);
	while (ivshmem_queue_send(pair.one, record, sizeof(record)) == 0)
		sent++;
	CHECK_EQ(sent, 63);
	CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0), -ETIMEDOUT);
	while (ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0) == -ETIMEDOUT) {
		CHECK_EQ(ivshmem_queue_receive(pair.other, record, sizeof(record)), sizeof(record));
		received++;
	}
	/* An eighth of the ring at a time is told. */
	CHECK_EQ(received, 32);
	CHECK_EQ(ivshmem_queue_send(pair.one, record, sizeof(record)), 0);
	pair_close(&pair);
}

/* ---- many at a time -------------------------------------------------------------------------- */

TEST(many_records_at_a_time)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
	struct ivshmem_record sent[26], received[40];
	struct pair pair;

	for (unsigned i = 0; i < 26; i++)
		sent[i] = (struct ivshmem_record){letters + i, 1 + i % 3};
	pair_open(&pair, IVSHMEM_QUEUE, 1024);
	CHECK_EQ(ivshmem_queue_send_many(pair.one, sent, 0), 0);
	CHECK_EQ(ivshmem_queue_peek_many(pair.other, received, 40), -EAGAIN);
	CHECK_EQ(ivshmem_queue_peek_many(pair.other, received, 0), -EINVAL);
	for (unsigned round = 0; round < 100; round++) {
		unsigned next = 0;

		CHECK_EQ(ivshmem_queue_send_many(pair.one, sent, 26), 26);
		/* Where the ring ends, it needs another look. */
		while (next < 26) {
			int64_t n = ivshmem_queue_peek_many(pair.other, received, 20);

			CHECK(n > 0 && n <= 20);
			/* Looking whether there is something changes nothing. */
			CHECK_EQ(ivshmem_channel_wait(pair.other, IVSHMEM_READABLE, 0),
				IVSHMEM_READABLE);
			for (int64_t i = 0; i < n; i++, next++) {
				CHECK_EQ(received[i].length, sent[next].length);
				CHECK_MEM(received[i].bytes, sent[next].bytes, sent[next].length);
			}
			CHECK_EQ(ivshmem_queue_release(pair.other), 0);
			CHECK_EQ(ivshmem_queue_release(pair.other), -EINVAL);
		}
		CHECK_EQ(ivshmem_queue_peek_many(pair.other, received, 40), -EAGAIN);
	}
	pair_close(&pair);
}

TEST(a_record_that_was_reserved_before_many_are_sent)
{
	struct ivshmem_record sent[2] = {{"one", 3}, {"two", 3}};
	char buffer[8];
	struct pair pair;
	void *place;

	pair_open(&pair, IVSHMEM_QUEUE, 1024);
	CHECK_EQ(ivshmem_queue_reserve(pair.one, 100, &place), 0);
	CHECK_EQ(ivshmem_queue_send_many(pair.one, sent, 2), 2);
	CHECK_EQ(ivshmem_queue_commit(pair.one, 100), -EINVAL);
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), 3);
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), 3);
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), -EAGAIN);
	pair_close(&pair);
}

TEST(not_all_of_many_records)
{
	char bytes[300] = {0};
	struct ivshmem_record sent[10], received[10];
	const void *record;
	struct pair pair;

	/* With room for three of 64 bytes, and the 0 behind. */
	for (unsigned i = 0; i < 10; i++)
		sent[i] = (struct ivshmem_record){bytes, 64};
	pair_open(&pair, IVSHMEM_QUEUE, 256);
	CHECK_EQ(ivshmem_queue_send_many(pair.one, sent, 10), 3);
	CHECK_EQ(ivshmem_queue_send_many(pair.one, sent, 10), -EAGAIN);
	CHECK_EQ(ivshmem_queue_peek_many(pair.other, received, 2), 2);
	/* Of those that were peeked at, a peek at one forgets the others. */
	CHECK_EQ(ivshmem_queue_peek(pair.other, &record), 64);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);
	CHECK_EQ(ivshmem_queue_peek_many(pair.other, received, 10), 2);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);

	/* One that is too long. */
	sent[1].length = 300;
	CHECK_EQ(ivshmem_queue_send_many(pair.one, sent, 10), 1);
	CHECK_EQ(ivshmem_queue_send_many(pair.one, sent + 1, 9), -EMSGSIZE);
	CHECK_EQ(ivshmem_queue_peek_many(pair.other, received, 10), 1);
	CHECK_EQ(ivshmem_queue_release(pair.other), 0);

	ivshmem_channel_close(pair.other);
	CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_READABLE, 0), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_send_many(pair.one, sent, 1), -EPIPE);
	CHECK_EQ(ivshmem_queue_peek_many(pair.one, received, 10), -EPIPE);
	pair_close(&pair);
}

/* The sender is dead, and another one has its area, where it has a record in the same place. */
TEST(a_record_of_who_has_the_area_next)
{
	for (unsigned call = 0; call < 6; call++) {
		struct ivshmem_record records[2];
		const void *record = NULL;
		struct pair pair;
		char buffer[16];

		pair_open(&pair, IVSHMEM_QUEUE, 1024);
		CHECK_EQ(ivshmem_queue_send(pair.one, "theirs", 6), 0);
		CHECK_EQ(ivshmem_queue_send(pair.one, "theirs", 6), 0);
		if (call == 0)
			CHECK_EQ(ivshmem_queue_peek(pair.other, &record), 6);
		if (call == 1)
			CHECK_EQ(ivshmem_queue_peek_many(pair.other, records, 2), 2);
		word_store(participant_own_claim(pair.here),
			layout_claim(pair.here->generation + 1, LAYOUT_OWNED));
		if (call <= 1)
			CHECK_EQ(ivshmem_queue_release(pair.other), -ECONNRESET);
		if (call == 2)
			CHECK_EQ(ivshmem_queue_peek(pair.other, &record), -ECONNRESET);
		if (call == 3)
			CHECK_EQ(ivshmem_queue_peek_many(pair.other, records, 2), -ECONNRESET);
		if (call == 4)
			CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 16), -ECONNRESET);
		if (call == 5)
			CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 5), -ECONNRESET);
		CHECK(call == 0 || !record);
		CHECK_EQ(ivshmem_queue_peek(pair.other, &record), -ECONNRESET);
		CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 16), -ECONNRESET);
		pair_close(&pair);
	}
}

/* ---- streams --------------------------------------------------------------------------------- */

TEST(a_stream_keeps_its_bytes_in_order)
{
	uint8_t out[3000], in[3000];
	uint64_t sent = 0, received = 0;
	unsigned seed = 7;
	struct pair pair;

	pair_open(&pair, IVSHMEM_STREAM, 4096);
	for (unsigned round = 0; round < 20000; round++) {
		size_t length = (unsigned)rand_r(&seed) % sizeof(out);
		int64_t n;

		for (size_t i = 0; i < length; i++)
			out[i] = (uint8_t)((sent + i) * 13 >> 3);
		n = ivshmem_stream_write(pair.one, out, length);
		CHECK(n >= 0 || n == -EAGAIN);
		sent += n > 0 ? (uint64_t)n : 0;
		length = (unsigned)rand_r(&seed) % sizeof(in);
		n = ivshmem_stream_read(pair.other, in, length);
		CHECK(n >= 0 || n == -EAGAIN);
		for (int64_t i = 0; i < n; i++)
			CHECK_EQ(in[i], (uint8_t)((received + (uint64_t)i) * 13 >> 3));
		received += n > 0 ? (uint64_t)n : 0;
	}
	CHECK(received > 1000000);
	pair_close(&pair);
}

TEST(the_end_of_a_stream)
{
	char buffer[8];
	struct pair pair;

	pair_open(&pair, IVSHMEM_STREAM, 0);
	CHECK_EQ(ivshmem_stream_write(pair.one, "bye", 3), 3);
	CHECK_EQ(ivshmem_channel_shutdown(pair.one), 0);
	CHECK_EQ(ivshmem_stream_write(pair.one, "more", 4), -EPIPE);
	CHECK_EQ(ivshmem_channel_shutdown(pair.one), -EPIPE);
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 2), 2);
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 8), 1);
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 8), 0);
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 8), 0);
	/* The other direction goes on. */
	CHECK_EQ(ivshmem_stream_write(pair.other, "answer", 6), 6);
	CHECK_EQ(ivshmem_stream_read(pair.one, buffer, 8), 6);
	ivshmem_channel_close(pair.other);
	CHECK_EQ(ivshmem_stream_read(pair.one, buffer, 8), 0);
	pair_close(&pair);
}

/* Before it is accepted, too. */
TEST(a_stream_that_is_not_complete)
{
	struct ivshmem_channel *listener, *channel, *accepted;
	char buffer[8];
	struct pair pair;

	pair_open(&pair, IVSHMEM_STREAM, 0);
	CHECK_EQ(ivshmem_listen(&listener, pair.there, "early", IVSHMEM_STREAM, NULL, NULL), 0);
	CHECK_EQ(ivshmem_connect(&channel, pair.here, "early", IVSHMEM_STREAM, NULL, 0, NULL), 0);
	CHECK_EQ(ivshmem_stream_write(channel, "bye", 3), 3);
	CHECK(!ivshmem_channel_abort(channel));
	CHECK_EQ(ivshmem_accept(&accepted, listener), 0);
	CHECK_EQ(ivshmem_stream_read(accepted, buffer, 8), 3);
	CHECK_EQ(ivshmem_stream_read(accepted, buffer, 8), -ECONNRESET);

	CHECK_EQ(ivshmem_stream_write(pair.one, "bye", 3), 3);
	CHECK(!ivshmem_channel_abort(pair.one));
	CHECK_EQ(ivshmem_channel_wait(pair.other, IVSHMEM_READABLE, -1), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 2), 2);
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 8), 1);
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 8), -ECONNRESET);
	CHECK_EQ(ivshmem_stream_write(pair.other, "x", 1), -ECONNRESET);
	pair_close(&pair);
}

TEST(a_stream_that_is_complete_and_aborted)
{
	char buffer[8];
	struct pair pair;

	pair_open(&pair, IVSHMEM_STREAM, 0);
	CHECK_EQ(ivshmem_stream_write(pair.one, "all", 3), 3);
	CHECK_EQ(ivshmem_channel_shutdown(pair.one), 0);
	CHECK(!ivshmem_channel_abort(pair.one));
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 8), 3);
	CHECK_EQ(ivshmem_stream_read(pair.other, buffer, 8), 0);
	CHECK(!ivshmem_channel_abort(NULL));
	pair_close(&pair);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* What wakes a poller without an interrupt is a timer; it is not meant here. */
TEST(a_descriptor_tells_when_to_try_again)
{
	char buffer[8];
	struct pair pair;
	int fd;

	pair_open(&pair, IVSHMEM_QUEUE, 0);
	fd = ivshmem_channel_fd(pair.other);
	CHECK(fd >= 0);
	CHECK_EQ(ivshmem_channel_fd(pair.other), fd);
	CHECK(is_readable(fd));
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), -EAGAIN);
	CHECK(!is_readable(fd));
	for (unsigned i = 0; i < 100; i++) {
		unsigned rings = pair.room.n_rings;

		CHECK_EQ(ivshmem_queue_send(pair.one, "x", 1), 0);
		CHECK_EQ(ivshmem_queue_send(pair.one, "y", 1), 0);
		/* One ring for one sleep. */
		CHECK_EQ(pair.room.n_rings, rings + 1);
		CHECK(is_readable(fd));
		CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), 1);
		CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), 1);
		CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), -EAGAIN);
		CHECK(!is_readable(fd));
	}
	ivshmem_channel_close(pair.one);
	CHECK(is_readable(fd));
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), -EPIPE);
	pair_close(&pair);
}

TEST(a_descriptor_of_a_sender_tells_when_there_is_room)
{
	char record[56] = {0};
	struct pair pair;
	int fd;

	pair_open(&pair, IVSHMEM_QUEUE, 4096);
	fd = ivshmem_channel_fd(pair.one);
	for (unsigned round = 0; round < 50; round++) {
		unsigned n = 0;

		while (ivshmem_queue_send(pair.one, record, sizeof(record)) == 0)
			;
		CHECK(!is_readable(fd));
		for (; !is_readable(fd); n++)
			CHECK_EQ(ivshmem_queue_receive(pair.other, record, 56), 56);
		CHECK(n >= 24 && n <= 40);
		CHECK_EQ(ivshmem_queue_send(pair.one, record, sizeof(record)), 0);
	}
	pair_close(&pair);
}

/* What came while we had no room to send is not forgotten, and what is not worth a try is not told. */
TEST(a_descriptor_is_for_both_directions)
{
	uint8_t record[64] = {0};
	const struct ivshmem_record one = {record, sizeof(record)};
	struct pair pair;
	int fd;

	pair_open(&pair, IVSHMEM_QUEUE, 1024);
	fd = ivshmem_channel_fd(pair.one);
	CHECK_EQ(ivshmem_queue_receive(pair.one, record, 64), -EAGAIN);
	while (ivshmem_queue_send(pair.one, record, 64) == 0)
		;
	CHECK(!is_readable(fd));
	CHECK_EQ(ivshmem_queue_send(pair.other, record, 64), 0);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(ivshmem_queue_send(pair.one, record, 64), -EAGAIN);
		CHECK(is_readable(fd));
	}
	CHECK_EQ(ivshmem_queue_receive(pair.one, record, 64), 64);
	CHECK_EQ(ivshmem_queue_send(pair.one, record, 64), -EAGAIN);
	CHECK(!is_readable(fd));
	/* The other way round. */
	CHECK_EQ(ivshmem_queue_receive(pair.one, record, 64), -EAGAIN);
	while (ivshmem_queue_receive(pair.other, record, 64) == 64)
		;
	CHECK_EQ(ivshmem_queue_receive(pair.one, record, 64), -EAGAIN);
	CHECK(is_readable(fd));
	CHECK_EQ(ivshmem_queue_send(pair.one, record, 64), 0);
	CHECK_EQ(ivshmem_queue_receive(pair.one, record, 64), -EAGAIN);
	CHECK(!is_readable(fd));
	/* Nor is it told of room after it has sent again, one record or several. */
	for (unsigned several = 0; several < 2; several++) {
		while (ivshmem_queue_send(pair.one, record, 64) == 0)
			;
		while (ivshmem_queue_receive(pair.other, record, 64) == 64)
			;
		CHECK_EQ(ivshmem_channel_wait(pair.one, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
		if (several)
			CHECK_EQ(ivshmem_queue_send_many(pair.one, &one, 1), 1);
		else
			CHECK_EQ(ivshmem_queue_send(pair.one, record, 64), 0);
		CHECK_EQ(ivshmem_queue_receive(pair.one, record, 64), -EAGAIN);
		CHECK(!is_readable(fd));
	}
	/* And not of records after it has received one. */
	CHECK_EQ(ivshmem_queue_send(pair.other, record, 64), 0);
	CHECK_EQ(ivshmem_queue_send(pair.other, record, 64), 0);
	CHECK_EQ(ivshmem_queue_receive(pair.one, record, 64), 64);
	while (ivshmem_queue_send(pair.one, record, 64) == 0)
		;
	CHECK(!is_readable(fd));
	pair_close(&pair);
}

TEST(one_interrupt_wakes_the_descriptors_of_all_channels_that_it_is_for)
{
	struct ivshmem_channel *ones[3], *others[3];
	struct ivshmem_participant *here, *there;
	struct room room;
	char buffer[8];
	int fds[3];

	room_open_pair(&room, &here, &there);
	for (unsigned i = 0; i < 3; i++) {
		room_connect(here, there, IVSHMEM_QUEUE, 1024, &ones[i], &others[i]);
		fds[i] = ivshmem_channel_fd(others[i]);
		CHECK_EQ(ivshmem_queue_receive(others[i], buffer, 8), -EAGAIN);
	}
	CHECK_EQ(ivshmem_queue_send(ones[0], "x", 1), 0);
	CHECK_EQ(ivshmem_queue_send(ones[2], "x", 1), 0);
	/* They share the interrupt, and whoever takes it looks for the others, too. */
	for (unsigned i = 0; i < 3; i++)
		CHECK(is_readable(fds[i]));
	CHECK_EQ(ivshmem_queue_receive(others[1], buffer, 8), -EAGAIN);
	CHECK(is_readable(fds[0]));
	CHECK(!is_readable(fds[1]));
	CHECK(is_readable(fds[2]));
	for (unsigned i = 0; i < 3; i += 2) {
		CHECK_EQ(ivshmem_queue_receive(others[i], buffer, 8), 1);
		CHECK_EQ(ivshmem_queue_receive(others[i], buffer, 8), -EAGAIN);
		CHECK(!is_readable(fds[i]));
	}
	room_close_pair(&room, here, there);
}

/* ---- two processes --------------------------------------------------------------------------- */

enum way { WAIT, POLL, SPIN };

static void
wait_for_it(struct ivshmem_channel *channel, int events, enum way way)
{
	struct pollfd poll_fd = {.events = POLLIN};

	switch (way) {
	case WAIT:
		CHECK(ivshmem_channel_wait(channel, events, 60000) > 0);
		break;
	case POLL:
		poll_fd.fd = ivshmem_channel_fd(channel);
		CHECK_EQ(poll(&poll_fd, 1, 60000), 1);
		break;
	case SPIN:
		break;
	}
}

/* Each side waits for its own reason: the sender for room, the receiver for records. */
static void
exchange(int peer_here, int peer_there, enum way way, uint64_t ring_size, unsigned n)
{
	const struct ivshmem_channel_options options = {sizeof(options), ring_size};
	struct ivshmem_participant *me;
	struct ivshmem_channel *listener, *channel;
	uint32_t record[64];
	uint32_t i = 0;
	int64_t r;
	struct room room;
	pid_t child;

	room_open(&room, ROOM_SIZE);
	me = room_join(&room, peer_here);
	CHECK_EQ(ivshmem_listen(&listener, me, "a", IVSHMEM_QUEUE, &options, NULL), 0);
	child = test_fork();
	if (child == 0) {
		me = room_join(&room, peer_there);
		CHECK_EQ(ivshmem_connect(&channel, me, "a", IVSHMEM_QUEUE, &options, 60000, NULL),
			0);
		if (way == POLL)
			CHECK(ivshmem_channel_fd(channel) >= 0);
		while (i < n) {
			record[0] = i;
			record[i % 60] = i;
			r = ivshmem_queue_send(channel, record, (i % 60 + 1) * sizeof(*record));
			if (r == -EAGAIN)
				wait_for_it(channel, IVSHMEM_WRITABLE, way);
			else
				CHECK_EQ(r, 0);
			i += r == 0;
		}
		CHECK_EQ(ivshmem_channel_drain(channel, 60000), 0);
		CHECK_EQ(ivshmem_participant_rescues(me), 0);
		ivshmem_participant_close(me);
		room_close(&room);
		_exit(0);
	}
	CHECK_EQ(ivshmem_channel_wait(listener, IVSHMEM_READABLE, 60000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	if (way == POLL)
		CHECK(ivshmem_channel_fd(channel) >= 0);
	while ((r = ivshmem_queue_receive(channel, record, sizeof(record))) != -EPIPE) {
		if (r == -EAGAIN) {
			wait_for_it(channel, IVSHMEM_READABLE, way);
			continue;
		}
		CHECK_EQ(r, (i % 60 + 1) * sizeof(*record));
		CHECK_EQ(record[i % 60], i);
		i++;
	}
	CHECK_EQ(i, n);
	CHECK_EQ(ivshmem_participant_rescues(me), 0);
	test_join(child);
	ivshmem_participant_close(me);
	room_close(&room);
}

TEST_WITH(two_processes_that_wait, .timeout_s = 120)
{
	exchange(0, 1, WAIT, 16384, test_count(200000));
}

TEST_WITH(two_processes_that_wait_at_each_record, .timeout_s = 120)
{
	exchange(0, 1, WAIT, 512, test_count(20000));
}

TEST_WITH(two_processes_that_poll, .timeout_s = 120)
{
	exchange(0, 1, POLL, 16384, test_count(200000));
}

TEST_WITH(two_processes_that_poll_at_each_record, .timeout_s = 120)
{
	exchange(0, 1, POLL, 512, test_count(20000));
}

TEST_WITH(two_processes_that_spin, .timeout_s = 120)
{
	exchange(0, 1, SPIN, 16384, test_count(20000));
}

TEST_WITH(two_processes_without_interrupts, .timeout_s = 120)
{
	exchange(-1, -1, WAIT, 16384, test_count(5000));
	exchange(-1, -1, POLL, 16384, test_count(5000));
}

/* One of the two can neither ring nor be rung. */
TEST_WITH(one_process_with_interrupts_and_one_without, .timeout_s = 120)
{
	exchange(0, -1, WAIT, 16384, test_count(5000));
	exchange(-1, 1, WAIT, 16384, test_count(5000));
	exchange(0, -1, POLL, 16384, test_count(5000));
	exchange(-1, 1, POLL, 16384, test_count(5000));
}

/* A ring that gets lost is found by looking, and counted. This shows that the count can fail. */
TEST(a_lost_ring_is_a_rescue)
{
	char buffer[8];
	struct pair pair;
	pid_t child;

	pair_open(&pair, IVSHMEM_QUEUE, 0);
	pair.there->patience = 100 * NSEC_PER_MSEC;
	child = test_fork();
	if (child == 0) {
		pair.room.deaf = true;
		usleep(300000);
		CHECK_EQ(ivshmem_queue_send(pair.one, "x", 1), 0);
		_exit(0);
	}
	CHECK_EQ(ivshmem_channel_wait(pair.other, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(pair.other, buffer, 8), 1);
	CHECK_EQ(ivshmem_participant_rescues(pair.there), 1);
	test_join(child);
	pair_close(&pair);
}
