/* SPDX-License-Identifier: BSD-2-Clause */

/* Nobody sleeps through what it waits for, and nobody is said to have done so. */
#include "channel_room.h"

#include <base/clock.h>

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static bool
was_rung(int peer)
{
	return is_readable(stage.eventfds[peer]);
}

/* A process that takes part, connects so many times, and dies. */
static void
connect_and_die(unsigned times)
{
	pid_t pid = test_fork();

	if (pid == 0) {
		struct ivshmem_participant *participant = stage_join(1);

		for (unsigned i = 0; i < times; i++)
			stage_connect(participant, IVSHMEM_QUEUE);
		_exit(0);
	}
	test_join(pid);
}

/* What the last owner of an area said, and what others saw of it, is not what the next one says. */
TEST(next_owner_of_an_area_wakes_others)
{
	stage_open(2, 16384);
	for (unsigned before = 0; before < 4; before++) {
		struct ivshmem_participant *listening = stage_join(0);
		struct ivshmem_channel *listener = stage_listen(listening, IVSHMEM_QUEUE);
		struct ivshmem_participant *next;
		struct ivshmem_channel *channel;

		connect_and_die(before);
		/* It has seen all, and would sleep now. */
		CHECK_EQ(ivshmem_participant_dispatch(listening), 0);
		CHECK(!was_rung(0));
		next = stage_join(1);
		channel = stage_connect(next, IVSHMEM_QUEUE);
		CHECK(was_rung(0));
		CHECK_EQ(ivshmem_participant_dispatch(listening), 0);
		ivshmem_channel_close(channel);
		CHECK(was_rung(0));
		ivshmem_channel_close(listener);
		ivshmem_participant_close(next);
		ivshmem_participant_close(listening);
	}
	stage_close();
}

/* And what others said to the last owner does not keep them from waking the next one. */
TEST(next_owner_of_an_area_is_woken)
{
	struct ivshmem_participant *connecting;

	stage_open(3, 16384);
	connecting = stage_join(0);
	for (unsigned round = 0; round < 6; round++) {
		struct ivshmem_participant *listening = stage_join(1);
		struct ivshmem_channel *listener = stage_listen(listening, IVSHMEM_QUEUE);
		struct ivshmem_channel *channel;

		CHECK_EQ(ivshmem_participant_dispatch(listening), 0);
		CHECK(!was_rung(1));
		channel = stage_connect(connecting, IVSHMEM_QUEUE);
		CHECK(was_rung(1));
		CHECK_EQ(ivshmem_participant_dispatch(listening), 0);
		/* It does not see this. */
		ivshmem_channel_close(channel);
		ivshmem_channel_close(listener);
		ivshmem_participant_close(listening);
		CHECK_EQ(stage_check(connecting), 0);
	}
	ivshmem_participant_close(connecting);
	stage_close();
}

/* Nobody rings for a death. That a sleeper finds it is no rescue. */
TEST(death_is_not_a_lost_wake)
{
	struct ivshmem_participant *listening;
	struct ivshmem_channel *listener;
	struct ivshmem_channel *channel;
	int64_t r;

	stage_open(2, 16384);
	listening = stage_join(0);
	listener = stage_listen(listening, IVSHMEM_QUEUE);
	connect_and_die(1);
	channel = stage_accept(listener);
	CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 5000), IVSHMEM_READABLE);
	r = ivshmem_queue_receive(channel, &r, sizeof(r));
	CHECK_EQ(r, -ECONNRESET);
	CHECK_EQ(ivshmem_participant_rescues(listening), 0);
	ivshmem_participant_close(listening);
	stage_close();
}

/* Who sleeps because others cannot make it wake is not rung for less: what they say late counts. */
static void *
send_silently(void *data)
{
	struct ivshmem_channel *channel = data;
	void *record;

	usleep(20000);
	if (ivshmem_queue_reserve(channel, 8, &record) == 0) {
		ivshmem_queue_commit(channel, 8);
		ivshmem_queue_publish(channel);
	}
	return NULL;
}

TEST(what_was_not_rung_for_is_a_rescue)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *sender, *receiver;
	pthread_t thread;

	stage_open(2, 16384);
	here = stage_join(0);
	there = stage_join(1);
	listener = stage_listen(here, IVSHMEM_QUEUE);
	sender = stage_connect(there, IVSHMEM_QUEUE);
	receiver = stage_accept(listener);
	CHECK_EQ(ivshmem_participant_dispatch(there), 0);
	here->patience = 100 * NSEC_PER_MSEC;
	CHECK_EQ(pthread_create(&thread, NULL, send_silently, sender), 0);
	CHECK_EQ(ivshmem_channel_wait(receiver, IVSHMEM_READABLE, 5000), IVSHMEM_READABLE);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(ivshmem_participant_rescues(here), 1);
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	stage_close();
}

static void *
send_and_leave(void *data)
{
	struct ivshmem_channel *channel = data;
	struct ivshmem_participant *participant = channel->participant;

	usleep(20000);
	CHECK_EQ(ivshmem_queue_send(channel, "x", 1), 0);
	ivshmem_participant_close(participant);
	return NULL;
}

/* Whoever cannot ring sends, and is gone before we look: the next look at everything comes first. */
TEST(what_one_who_cannot_ring_left_is_no_rescue)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *sender, *receiver;
	pthread_t thread;

	stage_open(2, 16384);
	here = stage_join(0);
	here->patience = 100 * NSEC_PER_MSEC;
	there = stage_join(-1);
	listener = stage_listen(here, IVSHMEM_QUEUE);
	sender = stage_connect(there, IVSHMEM_QUEUE);
	receiver = stage_accept(listener);
	here->next_check = 0;
	CHECK_EQ(ivshmem_participant_dispatch(here), 0);
	CHECK(here->must_look);
	here->next_check = clock_now() + 20 * NSEC_PER_MSEC;
	here->pause = 200 * NSEC_PER_MSEC;
	CHECK_EQ(pthread_create(&thread, NULL, send_and_leave, sender), 0);
	CHECK_EQ(ivshmem_channel_wait(receiver, IVSHMEM_READABLE, 60000), IVSHMEM_READABLE);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(ivshmem_participant_rescues(here), 0);
	ivshmem_participant_close(here);
	stage_close();
}

/* Who received everything, and went, has received everything. */
TEST(drain_after_the_other_end_closed)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *sender, *receiver;
	char text[8];

	stage_open(2, 16384);
	here = stage_join(0);
	there = stage_join(1);
	listener = stage_listen(here, IVSHMEM_QUEUE);
	for (unsigned all = 0; all < 2; all++) {
		sender = stage_connect(there, IVSHMEM_QUEUE);
		CHECK_EQ(ivshmem_queue_send(sender, "one", 3), 0);
		CHECK_EQ(ivshmem_queue_send(sender, "two", 3), 0);
		receiver = stage_accept(listener);
		CHECK_EQ(ivshmem_queue_receive(receiver, text, sizeof(text)), 3);
		if (all)
			CHECK_EQ(ivshmem_queue_receive(receiver, text, sizeof(text)), 3);
		ivshmem_channel_close(receiver);
		CHECK_EQ(ivshmem_channel_drain(sender, 1000), all ? 0 : -EPIPE);
		ivshmem_channel_close(sender);
	}
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	stage_close();
}
