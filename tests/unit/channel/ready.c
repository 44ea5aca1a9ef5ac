/* SPDX-License-Identifier: BSD-2-Clause */

/* One descriptor for all channels of a participant, and which of them are worth another try. */

#include "channel_room.h"

#include <test.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define MANY 20
#define RING 1024

struct many {
	struct room room;
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener;
	struct ivshmem_channel *connected[MANY],
		*accepted[MANY]; /* of here; of there, which polls */
	int fd;
};

static char byte;

static void
until_again(struct ivshmem_channel *channel)
{
	CHECK_EQ(ivshmem_queue_receive(channel, &byte, 1), -EAGAIN);
}

/* All of them are ready, and there is no other one. */
static void
demand_ready(struct many *many, struct ivshmem_channel *const *channels, unsigned n)
{
	bool seen[MANY + 1] = {0};

	CHECK_EQ(is_readable(many->fd), n > 0);
	for (unsigned i = 0; i < n; i++) {
		struct ivshmem_channel *channel = ivshmem_participant_ready(many->there);
		unsigned which = 0;

		CHECK(channel);
		while (which < n && channels[which] != channel)
			which++;
		CHECK(which < n && !seen[which]);
		seen[which] = true;
	}
	CHECK(!ivshmem_participant_ready(many->there));
	CHECK(!is_readable(many->fd));
}

static void
many_open(struct many *many)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = RING};

	room_open_pair(&many->room, &many->here, &many->there);
	CHECK_EQ(ivshmem_listen(&many->listener, many->there, "a", IVSHMEM_QUEUE, &options, NULL),
		0);
	/* Who tells everybody of the listener tells itself, too. */
	CHECK_EQ(ivshmem_participant_dispatch(many->there), 0);
	/* What was there before is ready, too. */
	CHECK(!ivshmem_participant_ready(many->there));
	many->fd = ivshmem_participant_fd(many->there);
	CHECK(many->fd >= 0);
	CHECK_EQ(ivshmem_participant_fd(many->there), many->fd);
	demand_ready(many, &many->listener, 1);
	CHECK_EQ(ivshmem_accept(&many->accepted[0], many->listener), -EAGAIN);
	for (unsigned i = 0; i < MANY; i++) {
		CHECK_EQ(ivshmem_connect(&many->connected[i], many->here, "a", IVSHMEM_QUEUE,
				 &options, 0, NULL),
			0);
		demand_ready(many, &many->listener, 1);
		CHECK_EQ(ivshmem_accept(&many->accepted[i], many->listener), 0);
		CHECK_EQ(ivshmem_accept(&many->accepted[i], many->listener), -EAGAIN);
		demand_ready(many, &many->accepted[i], 1);
		until_again(many->accepted[i]);
	}
	CHECK_EQ(ivshmem_participant_dispatch(many->here), 0);
}

static void
many_close(struct many *many)
{
	CHECK_EQ(ivshmem_participant_rescues(many->there), 0);
	room_close_pair(&many->room, many->here, many->there);
}

TEST(the_channel_that_has_something)
{
	struct many many;

	many_open(&many);
	demand_ready(&many, NULL, 0);
	for (unsigned i = 0; i < 200; i++) {
		unsigned which = i * 7 % MANY;

		CHECK_EQ(ivshmem_queue_send(many.connected[which], "x", 1), 0);
		demand_ready(&many, &many.accepted[which], 1);
		/* It is not told twice, whoever looks. */
		CHECK_EQ(ivshmem_participant_dispatch(many.there), 0);
		demand_ready(&many, NULL, 0);
		CHECK_EQ(ivshmem_queue_receive(many.accepted[which], &byte, 1), 1);
		until_again(many.accepted[which]);
		demand_ready(&many, NULL, 0);
	}
	for (unsigned i = 0; i < MANY; i++)
		CHECK_EQ(ivshmem_queue_send(many.connected[i], "x", 1), 0);
	demand_ready(&many, many.accepted, MANY);
	many_close(&many);
}

TEST(the_channel_that_has_room)
{
	char record[100] = {0};
	struct many many;

	many_open(&many);
	while (ivshmem_queue_send(many.accepted[3], record, sizeof(record)) == 0)
		;
	demand_ready(&many, NULL, 0);
	while (ivshmem_queue_receive(many.connected[3], record, sizeof(record)) >= 0)
		;
	for (unsigned i = 0; i < 64; i++)
		CHECK_EQ(ivshmem_queue_receive(many.connected[3], record, sizeof(record)), -EAGAIN);
	demand_ready(&many, &many.accepted[3], 1);
	CHECK_EQ(ivshmem_queue_send(many.accepted[3], record, sizeof(record)), 0);
	many_close(&many);
}

TEST(channels_that_are_ready_and_closed)
{
	struct many many;

	many_open(&many);
	for (unsigned i = 0; i < MANY; i++)
		CHECK_EQ(ivshmem_queue_send(many.connected[i], "x", 1), 0);
	CHECK_EQ(ivshmem_participant_dispatch(many.there), 0);
	for (unsigned i = 1; i < MANY; i++)
		ivshmem_channel_close(many.accepted[i]);
	demand_ready(&many, many.accepted, 1);
	many_close(&many);
}

TEST(channels_whose_other_ends_are_closed)
{
	struct ivshmem_channel *ready[2];
	struct many many;

	many_open(&many);
	ivshmem_channel_close(many.connected[5]);
	/* For a listener, each change of an entry can be somebody who wants to connect. */
	ready[0] = many.listener;
	ready[1] = many.accepted[5];
	demand_ready(&many, ready, 2);
	CHECK_EQ(ivshmem_queue_receive(many.accepted[5], &byte, 1), -EPIPE);
	ivshmem_channel_close(many.accepted[5]);
	demand_ready(&many, NULL, 0);
	many_close(&many);
}

/* The other participant is so fast that it gives another notice while we look at the last one. */
static void
notice_again(struct ivshmem_participant *participant, unsigned area, uint64_t bits)
{
	channel_area_changed(participant, area, bits);
	if (area != participant->area)
		map_notice(&participant->map, area, participant->area)->bits =
			~participant->neighbours[area].seen;
}

TEST(notices_all_the_time)
{
	struct many many;

	many_open(&many);
	many.there->area_changed = notice_again;
	CHECK_EQ(ivshmem_queue_send(many.connected[0], "x", 1), 0);
	for (unsigned polls = 0; polls < 3; polls++) {
		unsigned n = 0;

		while (ivshmem_participant_ready(many.there))
			CHECK(++n <= 2 * (MANY + 1));
		CHECK(n > 0);
		CHECK(is_readable(many.fd));
	}
	many.there->area_changed = channel_area_changed;
	many_close(&many);
}

TEST(the_end_of_all)
{
	struct ivshmem_channel *all[MANY + 1];
	struct many many;

	many_open(&many);
	for (unsigned i = 0; i < MANY; i++)
		all[i] = many.accepted[i];
	all[MANY] = many.listener;
	word_store(participant_own_claim(many.there), layout_claim(1, LAYOUT_DEAD));
	CHECK_EQ(ivshmem_participant_dispatch(many.there), -ESTALE);
	demand_ready(&many, all, MANY + 1);
	many_close(&many);
}

TEST(what_the_user_keeps_with_a_channel)
{
	struct many many;

	many_open(&many);
	CHECK(!ivshmem_channel_data(many.accepted[1]));
	ivshmem_channel_set_data(many.accepted[1], &many);
	CHECK(ivshmem_channel_data(many.accepted[1]) == &many);
	CHECK(!ivshmem_channel_data(many.accepted[2]));
	many_close(&many);
}

/* ---- two processes --------------------------------------------------------------------------- */

/* Answer each record, for as long as somebody is there. */
static void
answer_all(struct ivshmem_participant *me, struct ivshmem_channel *listener)
{
	struct pollfd fd = {.fd = ivshmem_participant_fd(me), .events = POLLIN};
	unsigned n_open = 0, n_closed = 0;

	while (n_closed < MANY) {
		struct ivshmem_channel *channel = ivshmem_participant_ready(me);
		struct ivshmem_channel *accepted;
		unsigned record;
		int64_t r;

		if (!channel) {
			CHECK_EQ(poll(&fd, 1, 60000), 1);
		} else if (channel == listener) {
			while ((r = ivshmem_accept(&accepted, listener)) == 0)
				n_open++;
			CHECK_EQ(r, -EAGAIN);
		} else {
			while ((r = ivshmem_queue_receive(channel, &record, sizeof(record))) >= 0)
				CHECK_EQ(ivshmem_queue_send(channel, &record, sizeof(record)), 0);
			if (r == -EAGAIN)
				continue;
			CHECK_EQ(r, -EPIPE);
			ivshmem_channel_close(channel);
			n_closed++;
		}
	}
	CHECK_EQ(n_open, MANY);
}

TEST_WITH(nothing_is_lost_that_came_through_many_channels, .timeout_s = 120)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = RING};
	unsigned n = test_count(20000), left[MANY], n_left = MANY, seed = 5;
	struct ivshmem_channel *channels[MANY], *listener;
	struct ivshmem_participant *me;
	struct pollfd fd = {.events = POLLIN};
	struct room room;
	pid_t child;

	room_open(&room, ROOM_SIZE);
	child = test_fork();
	if (child == 0) {
		me = room_join(&room, 1);
		CHECK_EQ(ivshmem_listen(&listener, me, "a", IVSHMEM_QUEUE, &options, NULL), 0);
		answer_all(me, listener);
		CHECK_EQ(ivshmem_participant_rescues(me), 0);
		ivshmem_participant_close(me);
		_exit(0);
	}
	me = room_join(&room, 0);
	fd.fd = ivshmem_participant_fd(me);
	for (unsigned i = 0; i < MANY; i++) {
		CHECK_EQ(ivshmem_connect(
				 &channels[i], me, "a", IVSHMEM_QUEUE, &options, 60000, NULL),
			0);
		ivshmem_channel_set_data(channels[i], &left[i]);
		left[i] = n / MANY;
		CHECK_EQ(ivshmem_queue_send(channels[i], &left[i], sizeof(left[i])), 0);
	}
	while (n_left > 0) {
		struct ivshmem_channel *channel = ivshmem_participant_ready(me);
		unsigned record, *expected;
		int64_t r;

		if (!channel) {
			CHECK_EQ(poll(&fd, 1, 60000), 1);
			continue;
		}
		expected = ivshmem_channel_data(channel);
		while ((r = ivshmem_queue_receive(channel, &record, sizeof(record))) >= 0) {
			CHECK_EQ(record, *expected);
			if (--*expected == 0)
				break;
			/* Now and then, both sides sleep. */
			if (rand_r(&seed) % 64 == 0)
				usleep(100);
			CHECK_EQ(ivshmem_queue_send(channel, expected, sizeof(*expected)), 0);
		}
		if (r >= 0) {
			ivshmem_channel_close(channel);
			n_left--;
		} else {
			CHECK_EQ(r, -EAGAIN);
		}
	}
	test_join(child);
	CHECK_EQ(ivshmem_participant_rescues(me), 0);
	ivshmem_participant_close(me);
	room_close(&room);
}
