/* SPDX-License-Identifier: BSD-2-Clause */

/* Calls: many at a time, answered in any order, cancelled, late; and both sides that break the rules. */

#include "channel_room.h"

#include <channel/channel.h>

#include <test.h>

#include <errno.h>
#include <unistd.h>

struct pair {
	struct room room;
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *caller, *server;
};

static void
pair_open(struct pair *pair, uint64_t ring_size)
{
	room_open_pair(&pair->room, &pair->here, &pair->there);
	room_connect(
		pair->here, pair->there, IVSHMEM_CALL, ring_size, &pair->caller, &pair->server);
}

static void
pair_close(struct pair *pair)
{
	room_close_pair(&pair->room, pair->here, pair->there);
}

TEST(answers_in_any_order)
{
	uint64_t calls[3], received[3], call;
	char buffer[16];
	struct pair pair;
	int status;

	pair_open(&pair, 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(ivshmem_call_start(pair.caller, "request", i + 1, -1, &calls[i]), 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(ivshmem_call_receive(pair.server, &received[i], buffer, 16), i + 1);
	CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 16), -EAGAIN);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), -EAGAIN);
	CHECK_EQ(ivshmem_call_answer(pair.server, received[2], 0, "third", 5), 0);
	CHECK_EQ(ivshmem_call_answer(pair.server, received[2], 0, "third", 5), -ENOENT);
	CHECK_EQ(ivshmem_call_answer(pair.server, received[0], -EDOM, NULL, 0), 0);
	CHECK_EQ(ivshmem_call_answer(pair.server, received[1], 5, NULL, 0), -EINVAL);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 4), 5);
	CHECK_EQ(call, calls[2]);
	CHECK_EQ(status, 0);
	CHECK_MEM(buffer, "thir", 4);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), 0);
	CHECK_EQ(call, calls[0]);
	CHECK_EQ(status, -EDOM);
	CHECK_EQ(ivshmem_call(pair.caller, "x", 1, buffer, 16, 0), -EBUSY);
	ivshmem_channel_close(pair.server);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), -EPIPE);
	CHECK_EQ(ivshmem_call(pair.caller, "x", 1, buffer, 16, 0), -EBUSY);
	pair_close(&pair);
}

TEST(each_end_has_its_part)
{
	uint64_t call;
	char buffer[16];
	struct pair pair;
	int status;

	pair_open(&pair, 0);
	CHECK_EQ(ivshmem_call_start(pair.server, "x", 1, -1, &call), -EINVAL);
	CHECK_EQ(ivshmem_call_reply(pair.server, &call, &status, buffer, 16), -EINVAL);
	CHECK_EQ(ivshmem_call_receive(pair.caller, &call, buffer, 16), -EINVAL);
	CHECK_EQ(ivshmem_call_answer(pair.caller, 1, 0, "x", 1), -EINVAL);
	CHECK_EQ(ivshmem_queue_send(pair.caller, "x", 1), -EINVAL);
	CHECK_EQ(ivshmem_stream_write(pair.caller, "x", 1), -EINVAL);
	CHECK_EQ(ivshmem_call_cancel(pair.caller, 1), -ENOENT);
	pair_close(&pair);
}

TEST(a_cancelled_call_has_no_reply)
{
	uint64_t calls[2], call;
	char buffer[16];
	struct pair pair;
	int status;

	pair_open(&pair, 0);
	CHECK_EQ(ivshmem_call_start(pair.caller, "a", 1, -1, &calls[0]), 0);
	CHECK_EQ(ivshmem_call_cancel(pair.caller, calls[0]), 0);
	CHECK_EQ(ivshmem_call_cancel(pair.caller, calls[0]), -ENOENT);
	CHECK_EQ(ivshmem_call_start(pair.caller, "b", 1, -1, &calls[1]), 0);
	CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 16), 1);
	CHECK_EQ(call, calls[0]);
	CHECK(!ivshmem_call_is_cancelled(pair.server, call));
	CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 16), 1);
	CHECK_EQ(call, calls[1]);
	CHECK(ivshmem_call_is_cancelled(pair.server, calls[0]));
	CHECK(!ivshmem_call_is_cancelled(pair.server, calls[1]));
	CHECK_EQ(ivshmem_call_answer(pair.server, calls[0], 0, "A", 1), 0);
	CHECK_EQ(ivshmem_call_answer(pair.server, calls[1], 0, "B", 1), 0);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), 1);
	CHECK_EQ(call, calls[1]);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), -EAGAIN);
	/* One that crosses the answer. */
	CHECK_EQ(ivshmem_call_start(pair.caller, "c", 1, -1, &calls[0]), 0);
	CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 16), 1);
	CHECK_EQ(ivshmem_call_answer(pair.server, call, 0, "C", 1), 0);
	CHECK_EQ(ivshmem_call_cancel(pair.caller, calls[0]), 0);
	CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 16), -EAGAIN);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), -EAGAIN);
	pair_close(&pair);
}

TEST(a_late_call_is_cancelled)
{
	uint64_t started, call;
	char buffer[16];
	struct pair pair;
	int status;

	pair_open(&pair, 0);
	CHECK_EQ(ivshmem_call(pair.caller, "x", 1, buffer, 16, 5), -ETIMEDOUT);
	CHECK_EQ(ivshmem_call_start(pair.caller, "y", 1, 0, &started), 0);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), 0);
	CHECK_EQ(call, started);
	CHECK_EQ(status, -ETIMEDOUT);
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), -EAGAIN);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 16), 1);
		CHECK_EQ(ivshmem_call_answer(pair.server, call, 0, "late", 4), 0);
	}
	CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 16), -EAGAIN);
	pair_close(&pair);
}

/* As many as can be under way, and a ring that is full. */
TEST(there_can_be_so_many)
{
	uint64_t call, last = 0;
	char buffer[64] = {0};
	unsigned n;
	struct pair pair;
	int status;

	pair_open(&pair, 65536);
	for (unsigned round = 0; round < 3; round++) {
		for (n = 0; ivshmem_call_start(pair.caller, buffer, 8, -1, &call) == 0; n++)
			CHECK_EQ(call, ++last);
		CHECK_EQ(n, 1024);
		for (n = 0; ivshmem_call_receive(pair.server, &call, buffer, 64) == 8; n++)
			if (n % 2)
				CHECK_EQ(ivshmem_call_answer(pair.server, call, 0, &call, 8), 0);
		CHECK_EQ(n, 1024);
		for (n = 0; ivshmem_call_reply(pair.caller, &call, &status, buffer, 64) == 8; n++)
			CHECK_MEM(buffer, &call, 8);
		CHECK_EQ(n, 512);
		for (uint64_t i = last - 1023; i <= last; i += 2)
			CHECK_EQ(ivshmem_call_answer(pair.server, i, 0, &i, 8), 0);
		for (n = 0; ivshmem_call_reply(pair.caller, &call, &status, buffer, 64) == 8; n++)
			CHECK_MEM(buffer, &call, 8);
		CHECK_EQ(n, 512);
	}
	pair_close(&pair);

	pair_open(&pair, 512);
	CHECK_EQ(ivshmem_call_start(pair.caller, buffer, 512 / 2 - 16 - 15, -1, &call), -EMSGSIZE);
	for (n = 0; ivshmem_call_start(pair.caller, buffer, 64, -1, &call) == 0; n++)
		;
	CHECK_EQ(n, 5);
	CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 64), 64);
	CHECK_EQ(ivshmem_call_answer(pair.server, call, 0, buffer, 512), -EMSGSIZE);
	/* What the other end would not believe. */
	CHECK_EQ(ivshmem_call_answer(pair.server, call, 1, buffer, 64), -EINVAL);
	CHECK_EQ(ivshmem_call_answer(pair.server, call, INT32_MIN, buffer, 64), -EINVAL);
	CHECK_EQ(ivshmem_call_answer(pair.server, call, 0, buffer, 64), 0);
	pair_close(&pair);
}

/* ---- who breaks the rules -------------------------------------------------------------------- */

/* What each record of the other end begins with. */
struct head {
	uint64_t call;
	uint32_t message;
	int32_t status;
};

struct message {
	struct head head;
	size_t length;
};

/* Send it as a queue would, which knows no rules. */
static void
send_raw(struct ivshmem_channel *channel, const struct message *message)
{
	channel->kind = IVSHMEM_QUEUE;
	CHECK_EQ(ivshmem_queue_send(channel, &message->head, message->length), 0);
	channel->kind = IVSHMEM_CALL;
}

TEST(a_caller_that_breaks_the_rules)
{
	static const struct message wrong[] = {
		{{1, 1, 0}, 15}, {{0, 0, 0}, 0}, {{2, 2, 0}, 16}, /* a reply */
		{{2, 4, 0}, 16}, {{1, 1, 0}, 16},                 /* a number that is under way */
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct pair pair;
		char buffer[8];
		uint64_t call;

		pair_open(&pair, 1024);
		CHECK_EQ(ivshmem_call_start(pair.caller, "x", 1, -1, &call), 0);
		CHECK_EQ(call, 1);
		send_raw(pair.caller, &wrong[i]);
		CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 8), 1);
		CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 8), -EPROTO);
		CHECK_EQ(ivshmem_call_answer(pair.server, 1, 0, NULL, 0), -EPROTO);
		pair_close(&pair);
	}
}

TEST(a_server_that_breaks_the_rules)
{
	static const struct message wrong[] = {
		{{1, 2, 0}, 15},
		{{0, 0, 0}, 0},
		{{1, 1, 0}, 16}, /* a request */
		{{1, 3, 0}, 16},
		{{2, 2, 0}, 16}, /* nobody has called */
		{{1, 2, 1}, 16}, /* that is no error */
		{{1, 2, INT32_MIN}, 16},
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct pair pair;
		char buffer[8];
		uint64_t call;
		int status;

		pair_open(&pair, 1024);
		CHECK_EQ(ivshmem_call_start(pair.caller, "x", 1, -1, &call), 0);
		send_raw(pair.server, &wrong[i]);
		CHECK_EQ(ivshmem_call_reply(pair.caller, &call, &status, buffer, 8), -EPROTO);
		CHECK_EQ(ivshmem_call_start(pair.caller, "x", 1, -1, &call), -EPROTO);
		pair_close(&pair);
	}
}

TEST(more_calls_than_there_can_be)
{
	struct message message = {{0, 1, 0}, 16};
	struct pair pair;
	char buffer[8];
	uint64_t call;

	pair_open(&pair, 65536);
	for (message.head.call = 1; message.head.call <= 1025; message.head.call++)
		send_raw(pair.caller, &message);
	for (unsigned i = 0; i < 1024; i++)
		CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 8), 0);
	CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 8), -EPROTO);
	pair_close(&pair);

	/* Cancellations without end. */
	pair_open(&pair, 131072);
	message.head.message = 3;
	for (unsigned i = 0; i < 2048; i++)
		send_raw(pair.caller, &message);
	CHECK_EQ(ivshmem_call_receive(pair.server, &call, buffer, 8), -EPROTO);
	pair_close(&pair);
}

/* ---- two processes --------------------------------------------------------------------------- */

TEST_WITH(calls_between_two_processes, .timeout_s = 120)
{
	struct ivshmem_participant *me;
	struct ivshmem_channel *listener, *channel;
	unsigned n = test_count(20000);
	char buffer[16];
	uint64_t call;
	int64_t r;
	struct room room;
	pid_t child;

	room_open(&room, ROOM_SIZE);
	me = room_join(&room, 0);
	CHECK_EQ(ivshmem_listen(&listener, me, "a", IVSHMEM_CALL, NULL, NULL), 0);
	child = test_fork();
	if (child == 0) {
		me = room_join(&room, 1);
		CHECK_EQ(ivshmem_connect(&channel, me, "a", IVSHMEM_CALL, NULL, 60000, NULL), 0);
		for (unsigned i = 0; i < n; i++) {
			CHECK_EQ(
				ivshmem_call(channel, &i, sizeof(i), buffer, 16, 60000), sizeof(i));
			CHECK_MEM(buffer, &i, sizeof(i));
		}
		CHECK_EQ(ivshmem_call(channel, "no", 2, buffer, 16, 60000), -EDOM);
		CHECK_EQ(ivshmem_participant_rescues(me), 0);
		ivshmem_participant_close(me);
		_exit(0);
	}
	CHECK_EQ(ivshmem_channel_wait(listener, IVSHMEM_READABLE, 60000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	while ((r = ivshmem_call_receive(channel, &call, buffer, 16)) != -EPIPE) {
		if (r == -EAGAIN)
			CHECK(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 60000) > 0);
		else
			CHECK_EQ(ivshmem_call_answer(channel, call, r == 2 ? -EDOM : 0, buffer,
					 r == 2 ? 0 : (size_t)r),
				0);
	}
	CHECK_EQ(ivshmem_participant_rescues(me), 0);
	test_join(child);
	ivshmem_participant_close(me);
	room_close(&room);
}
