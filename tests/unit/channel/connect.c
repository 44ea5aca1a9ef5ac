/* SPDX-License-Identifier: BSD-2-Clause */

/* Participants, listeners, connections: who finds whom, and how it ends. */

#include "channel_room.h"

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ivshmem_channel_status
status_of(const struct ivshmem_channel *channel)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};

	CHECK_EQ(ivshmem_channel_status(channel, &status), 0);
	return status;
}

/* ---- participants ---------------------------------------------------------------------------- */

TEST(each_participant_has_an_area_until_all_have)
{
	struct ivshmem_participant *participants[4], *another;
	struct ivshmem_error error;
	struct room room;

	room_open(&room, ROOM_SIZE);
	for (unsigned i = 0; i < 4; i++) {
		participants[i] = room_join(&room, (int)i);
		CHECK_EQ(ivshmem_participant_area(participants[i]), i);
	}
	CHECK_EQ(room_try(&room, &another, 4, &error), -ENOSPC);
	CHECK_HAS(error.message, "all 4 areas");
	ivshmem_participant_close(participants[2]);
	another = room_join(&room, 4);
	CHECK_EQ(ivshmem_participant_area(another), 2);
	ivshmem_participant_close(another);
	for (unsigned i = 0; i < 4; i++)
		if (i != 2)
			ivshmem_participant_close(participants[i]);
	room_close(&room);
}

TEST(the_area_of_a_dead_process_is_given_to_another)
{
	struct ivshmem_participant *participants[3], *another;
	struct room room;
	pid_t child;
	int status;

	room_open(&room, ROOM_SIZE);
	for (unsigned i = 0; i < 3; i++)
		participants[i] = room_join(&room, (int)i);
	child = test_fork();
	if (child == 0) {
		room_join(&room, 3);
		raise(SIGKILL);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	another = room_join(&room, 4);
	CHECK_EQ(ivshmem_participant_area(another), 3);
	ivshmem_participant_close(another);
	for (unsigned i = 0; i < 3; i++)
		ivshmem_participant_close(participants[i]);
	room_close(&room);
}

TEST(a_zombie_is_dead)
{
	struct ivshmem_participant *participants[3], *another;
	siginfo_t info;
	struct room room;
	pid_t child;

	room_open(&room, ROOM_SIZE);
	for (unsigned i = 0; i < 3; i++)
		participants[i] = room_join(&room, (int)i);
	child = test_fork();
	if (child == 0) {
		room_join(&room, 3);
		_exit(0);
	}
	CHECK_SYS(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
	another = room_join(&room, 4);
	waitpid(child, NULL, 0);
	ivshmem_participant_close(another);
	for (unsigned i = 0; i < 3; i++)
		ivshmem_participant_close(participants[i]);
	room_close(&room);
}

/* For it, all processes began at another time. So it does not know ours by that, nor we its. */
TEST(processes_with_another_time_live)
{
	struct ivshmem_participant *here, *there;
	struct room room;
	uint64_t claim;
	eventfd_t count;
	pid_t child;
	int ready, done;

	room_open(&room, ROOM_SIZE);
	here = room_join(&room, 0);
	ready = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
	done = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
	child = test_fork();
	if (child == 0) {
		/* The child of this one is the first to have that time. */
		int r = unshare(CLONE_NEWTIME);
		int offsets = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
		bool able = r == 0 && offsets >= 0 && write(offsets, "boottime 1000 0\n", 16) == 16;

		close(offsets);
		child = test_fork();
		if (child > 0) {
			test_join(child);
			_exit(0);
		}
		if (able) {
			there = room_join(&room, 1);
			there->next_check = 0;
			CHECK_EQ(ivshmem_participant_dispatch(there), 0);
		}
		eventfd_write(ready, able ? 1 : 2);
		eventfd_read(done, &count);
		_exit(0);
	}
	CHECK_SYS(eventfd_read(ready, &count));
	here->next_check = 0;
	CHECK_EQ(ivshmem_participant_dispatch(here), 0);
	claim = word_load(map_claim(&here->map, 1));
	CHECK_SYS(eventfd_write(done, 1));
	test_join(child);
	close(ready);
	close(done);
	ivshmem_participant_close(here);
	room_close(&room);
	if (count == 2)
		SKIP("this kernel or user makes no time namespaces");
	CHECK_EQ(claim, layout_claim(1, LAYOUT_OWNED));
}

TEST(options_that_make_no_sense)
{
	struct ivshmem_participant_options options = {
		.struct_size = sizeof(options), .name = "a\nb"};
	struct ivshmem_transport transport = {.struct_size = sizeof(transport), .fd = -1};
	struct ivshmem_participant *participant;
	struct ivshmem_channel *channel;
	struct ivshmem_error error;
	struct room room;

	room_open(&room, ROOM_SIZE);
	transport.memory = room.memory;
	transport.size = room.size;
	CHECK_EQ(
		ivshmem_participant_open_over(&participant, &transport, &options, &error), -EINVAL);
	CHECK_HAS(error.message, "control characters");
	options.name = NULL;
	options.areas = 1;
	CHECK_EQ(
		ivshmem_participant_open_over(&participant, &transport, &options, &error), -EINVAL);
	options.areas = 0;
	transport.memory = room.memory + 64;
	CHECK_EQ(
		ivshmem_participant_open_over(&participant, &transport, &options, &error), -EINVAL);
	CHECK_HAS(error.message, "multiple of 128");
	transport.struct_size = 0;
	CHECK_EQ(
		ivshmem_participant_open_over(&participant, &transport, &options, &error), -EINVAL);

	participant = room_join(&room, 0);
	CHECK_EQ(ivshmem_listen(&channel, participant, "", IVSHMEM_QUEUE, NULL, &error), -EINVAL);
	CHECK_EQ(ivshmem_listen(
			 &channel, participant, "x", (enum ivshmem_channel_kind)9, NULL, &error),
		-EINVAL);
	CHECK_HAS(error.message, "no kind 9");
	CHECK_EQ(ivshmem_listen(&channel, participant, "x", IVSHMEM_QUEUE,
			 &(struct ivshmem_channel_options){
				 sizeof(struct ivshmem_channel_options), UINT64_C(1) << 32},
			 &error),
		-EINVAL);
	CHECK_HAS(error.message, "at most 2147483648 bytes");
	CHECK_EQ(ivshmem_connect(&channel, participant, "x", IVSHMEM_QUEUE, NULL, 0, &error),
		-ENOENT);
	CHECK_HAS(error.message, "nobody listens under the name 'x'");
	ivshmem_participant_close(participant);
	room_close(&room);
}

TEST(whoever_formats_ends_what_was)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
	char buffer[8];
	struct room room;

	room_open_pair(&room, &here, &there);
	room_connect(here, there, IVSHMEM_QUEUE, 0, &one, &other);
	CHECK_EQ(ivshmem_channels_format(room.memory, room.size, 8, NULL), 0);
	CHECK_EQ(ivshmem_participant_dispatch(here), -ESTALE);
	CHECK_EQ(ivshmem_queue_send(one, "x", 1), -ESTALE);
	CHECK_EQ(ivshmem_queue_receive(one, buffer, sizeof(buffer)), -ESTALE);
	CHECK_EQ(ivshmem_channel_wait(other, IVSHMEM_READABLE, 5000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, sizeof(buffer)), -ESTALE);
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	here = room_join(&room, 0);
	CHECK_EQ(ivshmem_participant_area(here), 0);
	ivshmem_participant_close(here);
	room_close(&room);
}

/* ---- connecting ------------------------------------------------------------------------------ */

TEST(both_ends_send_and_receive)
{
	static const enum ivshmem_channel_kind kinds[] = {IVSHMEM_QUEUE, IVSHMEM_STREAM};
	struct ivshmem_participant *here, *there;
	struct room room;

	room_open_pair(&room, &here, &there);
	for (unsigned i = 0; i < 2; i++) {
		struct ivshmem_channel *one, *other;
		char buffer[16];

		room_connect(here, there, kinds[i], 0, &one, &other);
		CHECK(status_of(one).connected && status_of(other).connected);
		CHECK_STR(status_of(one).peer_name, "unit-channel_connect");
		if (kinds[i] == IVSHMEM_QUEUE) {
			CHECK_EQ(ivshmem_queue_send(one, "ping", 4), 0);
			CHECK_EQ(ivshmem_queue_receive(other, buffer, 3), -EMSGSIZE);
			CHECK_EQ(ivshmem_queue_receive(other, buffer, 16), 4);
			CHECK_EQ(ivshmem_queue_send(other, "pong!", 5), 0);
			CHECK_EQ(ivshmem_queue_receive(one, buffer, 16), 5);
			CHECK_EQ(ivshmem_queue_receive(one, buffer, 16), -EAGAIN);
			CHECK_EQ(ivshmem_stream_read(one, buffer, 16), -EINVAL);
			CHECK_EQ(ivshmem_stream_write(one, buffer, 16), -EINVAL);
		} else {
			CHECK_EQ(ivshmem_stream_write(one, "ping", 4), 4);
			CHECK_EQ(ivshmem_stream_read(other, buffer, 3), 3);
			CHECK_EQ(ivshmem_stream_read(other, buffer, 16), 1);
			CHECK_EQ(ivshmem_stream_write(other, "pong!", 5), 5);
			CHECK_EQ(ivshmem_stream_read(one, buffer, 16), 5);
			CHECK_EQ(ivshmem_stream_read(one, buffer, 16), -EAGAIN);
			CHECK_EQ(ivshmem_queue_send(one, "x", 1), -EINVAL);
			CHECK_EQ(ivshmem_queue_receive(one, buffer, 16), -EINVAL);
		}
		ivshmem_channel_close(one);
		ivshmem_channel_close(other);
	}
	room_close_pair(&room, here, there);
}

/* It sees only then that it was accepted, and that all is over. */
TEST(who_closes_before_it_is_accepted_gets_its_room_back)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *connected, *accepted;
	char buffer[8];

	stage_open(2, 16384);
	here = stage_join(0);
	there = stage_join(1);
	listener = stage_listen(there, IVSHMEM_QUEUE);
	for (unsigned i = 0; i < 100; i++) {
		connected = stage_connect(here, IVSHMEM_QUEUE);
		CHECK_EQ(ivshmem_queue_send(connected, "last", 4), 0);
		ivshmem_channel_close(connected);
		accepted = stage_accept(listener);
		CHECK_EQ(ivshmem_queue_receive(accepted, buffer, sizeof(buffer)), 4);
		CHECK_EQ(ivshmem_queue_receive(accepted, buffer, sizeof(buffer)), -EPIPE);
		ivshmem_channel_close(accepted);
		CHECK_EQ(ivshmem_participant_dispatch(here), 0);
		CHECK_EQ(stage_entries(here), 0);
		CHECK_EQ(ivshmem_participant_dispatch(there), 0);
		CHECK_EQ(stage_entries(there), 1);
	}
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	stage_close();
}

TEST(a_name_has_one_listener)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
	struct ivshmem_error error;
	struct room room;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_listen(&one, here, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK(status_of(one).listening);
	CHECK_EQ(ivshmem_listen(&other, here, "a", IVSHMEM_QUEUE, NULL, &error), -EADDRINUSE);
	CHECK_EQ(ivshmem_listen(&other, there, "a", IVSHMEM_STREAM, NULL, &error), -EADDRINUSE);
	CHECK_HAS(error.message, "area 0");
	CHECK_EQ(ivshmem_listen(&other, there, "b", IVSHMEM_STREAM, NULL, NULL), 0);
	ivshmem_channel_close(one);
	CHECK_EQ(ivshmem_listen(&one, there, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK_EQ(ivshmem_connect(&other, here, "a", IVSHMEM_STREAM, NULL, 0, &error), -EPROTOTYPE);
	CHECK_HAS(error.message, "'a' is a queue, not a stream");
	ivshmem_participant_close(there);
	CHECK_EQ(ivshmem_connect(&other, here, "a", IVSHMEM_QUEUE, NULL, 0, &error), -ENOENT);
	ivshmem_participant_close(here);
	room_close(&room);
}

TEST(what_was_sent_before_accepting_arrives)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *one, *other;
	char buffer[8];
	struct room room;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_listen(&listener, there, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK_EQ(ivshmem_accept(&other, listener), -EAGAIN);
	CHECK_EQ(ivshmem_connect(&one, here, "a", IVSHMEM_QUEUE, NULL, 0, NULL), 0);
	CHECK(!status_of(one).connected);
	CHECK_EQ(ivshmem_queue_send(one, "early", 5), 0);
	CHECK_EQ(ivshmem_queue_receive(one, buffer, 8), -EAGAIN);
	/* And even if its sender has closed the channel, and left. */
	ivshmem_channel_close(one);
	ivshmem_participant_close(here);
	CHECK_EQ(ivshmem_channel_wait(listener, IVSHMEM_READABLE, 5000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_accept(&other, listener), 0);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, 8), 5);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, 8), -EPIPE);
	CHECK_EQ(ivshmem_queue_send(other, "late", 4), -EPIPE);
	CHECK_EQ(ivshmem_accept(&one, listener), -EAGAIN);
	ivshmem_participant_close(there);
	room_close(&room);
}

TEST(a_listener_that_closes_refuses)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *one;
	char buffer[8];
	struct room room;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_listen(&listener, there, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK_EQ(ivshmem_connect(&one, here, "a", IVSHMEM_QUEUE, NULL, 0, NULL), 0);
	ivshmem_channel_close(listener);
	CHECK_EQ(ivshmem_channel_wait(one, IVSHMEM_READABLE, 5000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(one, buffer, 8), -ECONNREFUSED);
	CHECK_EQ(ivshmem_queue_send(one, "x", 1), -ECONNREFUSED);
	CHECK_EQ(status_of(one).error, -ECONNREFUSED);
	ivshmem_channel_close(one);
	room_close_pair(&room, here, there);
}

TEST(many_connections_are_told_apart)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *ones[30], *others[30];
	const struct ivshmem_channel_options options = {sizeof(options), 512};
	struct room room;

	room_open_pair(&room, &here, &there);
	for (unsigned round = 0; round < 20; round++) {
		CHECK_EQ(ivshmem_listen(&listener, there, "a", IVSHMEM_QUEUE, &options, NULL), 0);
		for (unsigned i = 0; i < 30; i++) {
			CHECK_EQ(ivshmem_connect(
					 &ones[i], here, "a", IVSHMEM_QUEUE, &options, 0, NULL),
				0);
			CHECK_EQ(ivshmem_queue_send(ones[i], &i, sizeof(i)), 0);
		}
		for (unsigned i = 0; i < 30; i++)
			CHECK_EQ(ivshmem_accept(&others[i], listener), 0);
		for (unsigned i = 0; i < 30; i++) {
			unsigned found;

			CHECK_EQ(ivshmem_queue_receive(others[i], &found, sizeof(found)),
				sizeof(found));
			CHECK(found < 30 && ones[found]);
			CHECK_EQ(ivshmem_queue_send(others[i], &found, sizeof(found)), 0);
			CHECK_EQ(ivshmem_queue_receive(ones[found], &found, sizeof(found)),
				sizeof(found));
			if (round % 2)
				ivshmem_channel_close(ones[found]);
			ivshmem_channel_close(others[i]);
			if (!(round % 2))
				ivshmem_channel_close(ones[found]);
			ones[found] = NULL;
		}
		ivshmem_channel_close(listener);
		CHECK_EQ(ivshmem_participant_dispatch(here), 0);
		CHECK_EQ(ivshmem_participant_dispatch(there), 0);
	}
	room_close_pair(&room, here, there);
}

/* What the area has no room for. */
TEST(an_area_has_room_for_so_many_channels)
{
	const struct ivshmem_channel_options large = {sizeof(large), 65536},
					     small = {sizeof(small), 256};
	struct ivshmem_channel *listener, *channel, *channels[256];
	struct ivshmem_participant *here, *there;
	struct ivshmem_error error;
	unsigned n;
	struct room room;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_listen(&listener, there, "a", IVSHMEM_QUEUE, &small, NULL), 0);
	for (n = 0; ivshmem_connect(&channels[n], here, "a", IVSHMEM_QUEUE, &large, 0, &error) == 0;
		n++)
		;
	CHECK_EQ(error.code, -ENOSPC);
	CHECK_HAS(error.message, "no room for another channel");
	CHECK_EQ(n, 3);
	while (n > 0)
		ivshmem_channel_close(channels[--n]);
	/* They were never accepted, so they wait for that, or for its end. */
	ivshmem_channel_close(listener);
	CHECK_EQ(ivshmem_participant_dispatch(here), 0);
	CHECK_EQ(ivshmem_listen(&listener, there, "a", IVSHMEM_QUEUE, &small, NULL), 0);
	for (n = 0; ivshmem_connect(&channels[n], here, "a", IVSHMEM_QUEUE, &small, 0, &error) == 0;
		n++)
		;
	CHECK_EQ(error.code, -ENOSPC);
	CHECK_EQ(n, 63);
	/* The listener itself takes one of the entries there. A connection that found no room waits. */
	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(ivshmem_accept(&channels[100 + i], listener), i < 62 ? 0 : -ENOSPC);
	ivshmem_channel_close(channels[100]);
	for (unsigned i = 0; i < n; i++)
		ivshmem_channel_close(channels[i]);
	CHECK_EQ(ivshmem_participant_dispatch(there), 0);
	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	room_close_pair(&room, here, there);
}

TEST(with_oneself)
{
	struct ivshmem_participant *me;
	struct ivshmem_channel *one, *other;
	char buffer[8];
	struct room room;

	room_open(&room, ROOM_SIZE);
	me = room_join(&room, 0);
	room_connect(me, me, IVSHMEM_QUEUE, 0, &one, &other);
	CHECK_EQ(ivshmem_queue_send(one, "echo", 4), 0);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, 8), 4);
	ivshmem_channel_close(one);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, 8), -EPIPE);
	ivshmem_channel_close(other);
	ivshmem_participant_close(me);
	room_close(&room);
}

/* ---- waiting for each other ------------------------------------------------------------------ */

TEST(connecting_waits_for_a_listener)
{
	struct ivshmem_participant *participant;
	struct ivshmem_channel *listener, *channel;
	char buffer[8];
	struct room room;
	pid_t child;

	room_open(&room, ROOM_SIZE);
	participant = room_join(&room, 0);
	child = test_fork();
	if (child == 0) {
		participant = room_join(&room, 1);
		CHECK_EQ(ivshmem_connect(
				 &channel, participant, "a", IVSHMEM_QUEUE, NULL, 20000, NULL),
			0);
		CHECK_EQ(ivshmem_queue_send(channel, "hello", 5), 0);
		CHECK_EQ(ivshmem_channel_drain(channel, 20000), 0);
		CHECK_EQ(ivshmem_participant_rescues(participant), 0);
		ivshmem_participant_close(participant);
		_exit(0);
	}
	usleep(20000);
	CHECK_EQ(ivshmem_listen(&listener, participant, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	CHECK_EQ(ivshmem_channel_wait(listener, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(channel, buffer, 8), 5);
	CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(channel, buffer, 8), -EPIPE);
	CHECK_EQ(ivshmem_participant_rescues(participant), 0);
	test_join(child);
	ivshmem_participant_close(participant);
	room_close(&room);
}

TEST(a_time_out_is_a_time_out)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
	struct ivshmem_error error;
	struct room room;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_connect(&one, here, "nobody", IVSHMEM_QUEUE, NULL, 10, &error), -ENOENT);
	room_connect(here, there, IVSHMEM_QUEUE, 0, &one, &other);
	CHECK_EQ(ivshmem_channel_wait(one, IVSHMEM_READABLE, 0), -ETIMEDOUT);
	CHECK_EQ(ivshmem_channel_wait(one, IVSHMEM_READABLE, 10), -ETIMEDOUT);
	CHECK_EQ(ivshmem_channel_wait(one, IVSHMEM_READABLE | IVSHMEM_WRITABLE, 10),
		IVSHMEM_WRITABLE);
	CHECK_EQ(ivshmem_channel_wait(one, 0, 10), -EINVAL);
	CHECK_EQ(ivshmem_channel_wait(one, 4, 10), -EINVAL);
	CHECK_EQ(ivshmem_queue_send(one, "x", 1), 0);
	CHECK_EQ(ivshmem_channel_drain(one, 10), -ETIMEDOUT);
	room_close_pair(&room, here, there);
}

TEST(who_dies_is_noticed)
{
	struct ivshmem_participant *participant;
	struct ivshmem_channel *listener, *channel;
	char buffer[8];
	struct room room;
	pid_t child;

	room_open(&room, ROOM_SIZE);
	participant = room_join(&room, 0);
	CHECK_EQ(ivshmem_listen(&listener, participant, "a", IVSHMEM_QUEUE, NULL, NULL), 0);
	child = test_fork();
	if (child == 0) {
		participant = room_join(&room, 1);
		CHECK_EQ(ivshmem_connect(
				 &channel, participant, "a", IVSHMEM_QUEUE, NULL, 20000, NULL),
			0);
		CHECK_EQ(ivshmem_queue_send(channel, "last", 4), 0);
		pause();
	}
	CHECK_EQ(ivshmem_channel_wait(listener, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	CHECK_EQ(ivshmem_queue_receive(channel, buffer, 8), 4);
	CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(channel, buffer, 8), -ECONNRESET);
	CHECK_EQ(ivshmem_queue_send(channel, "x", 1), -ECONNRESET);
	CHECK_EQ(ivshmem_channel_drain(channel, 1000), -ECONNRESET);
	ivshmem_channel_close(channel);
	ivshmem_participant_close(participant);
	room_close(&room);
}

TEST(a_peer_that_is_gone_takes_its_participants_along)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
	char buffer[8];
	struct room room;

	room_open_pair(&room, &here, &there);
	room_connect(here, there, IVSHMEM_QUEUE, 0, &one, &other);
	CHECK_EQ(ivshmem_queue_send(other, "last", 4), 0);
	/* It is not a process of this kernel: in a guest, whose VMM has ended. */
	map_identity(&there->map, 1)->kernel = 0;
	room.gone[1] = true;
	CHECK_EQ(ivshmem_queue_receive(one, buffer, 8), 4);
	CHECK_EQ(ivshmem_channel_wait(one, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(one, buffer, 8), -ECONNRESET);
	/* If it was not, after all, it learns that its area is not its own any more. */
	CHECK_EQ(ivshmem_participant_dispatch(there), -ESTALE);
	CHECK_EQ(ivshmem_queue_send(other, "x", 1), -ESTALE);
	ivshmem_participant_close(there);
	ivshmem_participant_close(here);
	room_close(&room);
}

TEST(who_left_word_is_known_to_be_dead_at_once)
{
	struct ivshmem_participant *here, *there, *third, *another;
	struct ivshmem_channel *one, *other, *more;
	char buffer[8];
	struct room room;

	room_open_pair(&room, &here, &there);
	third = room_join(&room, 2);
	CHECK_EQ(room.words[1].n_stores, 1);
	CHECK_EQ(room.words[1].n_targets, 0);
	room_connect(here, there, IVSHMEM_QUEUE, 0, &one, &other);
	CHECK_EQ(room.words[1].n_targets, 1);
	room_connect(here, there, IVSHMEM_QUEUE, 0, &more, &other);
	CHECK_EQ(room.words[1].n_targets, 1);
	ivshmem_channel_close(more);
	CHECK_EQ(room.words[2].n_targets, 0);
	CHECK_EQ(ivshmem_participant_dispatch(here), 0);
	room_die(&room, 1);
	CHECK_EQ(ivshmem_channel_wait(one, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(one, buffer, 8), -ECONNRESET);
	CHECK_EQ(ivshmem_participant_rescues(here), 0);
	/* Its area can be taken, and what it does then harms nobody. */
	another = room_join(&room, 3);
	CHECK_EQ(ivshmem_participant_area(another), 3);
	ivshmem_participant_close(another);
	another = room_join(&room, 3);
	CHECK_EQ(ivshmem_participant_area(another), 1);
	CHECK_EQ(ivshmem_participant_dispatch(there), -ESTALE);
	CHECK_EQ(room.words[1].n_stores, 0);
	room_die(&room, 1);
	CHECK_EQ(ivshmem_participant_dispatch(another), 0);
	/* An orderly end leaves no word behind. */
	ivshmem_participant_close(here);
	CHECK_EQ(room.words[0].n_stores, 0);
	ivshmem_participant_close(there);
	ivshmem_participant_close(third);
	ivshmem_participant_close(another);
	room_close(&room);
}

/* ---- what everybody sees --------------------------------------------------------------------- */

static int
count_participant(void *data, const struct ivshmem_participant_info *info)
{
	unsigned *n = data;

	CHECK_STR(info->name, "unit-channel_connect");
	CHECK_EQ(info->pid, getpid());
	CHECK_EQ(info->peer, info->area);
	CHECK_EQ(info->ourselves, info->area == 0);
	(*n)++;
	return 0;
}

struct seen {
	unsigned n;
	char text[512];
};

static int
describe_channel(void *data, const struct ivshmem_channel_info *info)
{
	struct seen *seen = data;
	size_t length = strlen(seen->text);

	seen->n++;
	snprintf(seen->text + length, sizeof(seen->text) - length, "%u/%u %s %s %s %u/%u;",
		info->area, info->entry, info->name, ivshmem_channel_kind_name(info->kind),
		info->phase, info->peer_area, info->peer_entry);
	return seen->n == 4 ? 77 : 0;
}

TEST(everybody_sees_who_is_there)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *one, *other;
	struct seen seen = {0};
	unsigned n = 0;
	struct room room;

	room_open_pair(&room, &here, &there);
	CHECK_EQ(ivshmem_participants(here, count_participant, &n), 0);
	CHECK_EQ(n, 2);
	CHECK_EQ(ivshmem_listen(&listener, there, "a", IVSHMEM_STREAM, NULL, NULL), 0);
	CHECK_EQ(ivshmem_connect(&one, here, "a", IVSHMEM_STREAM, NULL, 0, NULL), 0);
	CHECK_EQ(ivshmem_channels(here, describe_channel, &seen), 0);
	CHECK_STR(seen.text, "0/0 a stream connecting 1/0;1/0 a stream listening 0/0;");
	CHECK_EQ(ivshmem_accept(&other, listener), 0);
	CHECK_EQ(ivshmem_participant_dispatch(here), 0);
	ivshmem_channel_close(other);
	seen = (struct seen){0};
	CHECK_EQ(ivshmem_channels(here, describe_channel, &seen), 0);
	CHECK_STR(seen.text,
		"0/0 a stream connected 1/1;1/0 a stream listening 0/0;1/1 a stream ended 0/0;");
	ivshmem_channel_close(one);
	/* The other one lets go now; two looks, because each waits for the other. */
	CHECK_EQ(ivshmem_participant_dispatch(there), 0);
	CHECK_EQ(ivshmem_participant_dispatch(here), 0);
	seen = (struct seen){0};
	CHECK_EQ(ivshmem_channels(here, describe_channel, &seen), 0);
	CHECK_STR(seen.text, "1/0 a stream listening 0/0;");
	seen = (struct seen){.n = 3};
	CHECK_EQ(ivshmem_channels(here, describe_channel, &seen), 77);
	room_close_pair(&room, here, there);
}
