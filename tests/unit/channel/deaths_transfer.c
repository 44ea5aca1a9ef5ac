/* SPDX-License-Identifier: BSD-2-Clause */

/* Who dies sends and receives records and loans of a queue, or bytes of a stream. */

#include "deaths_play.h"

#include <base/clock.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define RECORDS 4 /* in each turn */

/* ---- what is sent ---------------------------------------------------------------------------- */

struct traffic {
	enum ivshmem_channel_kind kind;
	bool lends;
	unsigned sent, received;
	const void *kept; /* a loan */
};

static struct traffic
traffic_of(const struct play *play)
{
	return (struct traffic){.kind = play->kind, .lends = play->lends};
}

static uint8_t
byte_of(unsigned position)
{
	return (uint8_t)(position * 7 + position / 256);
}

static int
send_record(struct ivshmem_channel *channel, const uint8_t *bytes, uint32_t length, bool lend)
{
	void *place;
	int r;

	if (!lend)
		return ivshmem_queue_send(channel, bytes, length);
	r = ivshmem_loan_take(channel, length + 1, &place);
	if (r < 0)
		return r;
	memcpy(place, bytes, length);
	r = ivshmem_loan_send(channel, place, length);
	if (r < 0)
		CHECK_EQ(ivshmem_loan_drop(channel, place), 0);
	return r;
}

/* Send as much as there is room for, and at most RECORDS; how it ended. */
static int
send_some(struct ivshmem_channel *channel, struct traffic *traffic, struct progress *progress)
{
	uint8_t bytes[PLAY_RECORD];
	int64_t r = 0;

	for (unsigned i = 0; i < RECORDS && r >= 0; i++) {
		if (traffic->kind == IVSHMEM_QUEUE) {
			uint32_t length = play_fill(bytes, traffic->sent);

			r = send_record(
				channel, bytes, length, traffic->lends && traffic->sent % 3 != 0);
			traffic->sent += r == 0;
		} else {
			for (unsigned k = 0; k < sizeof(bytes); k++)
				bytes[k] = byte_of(traffic->sent + k);
			r = ivshmem_stream_write(channel, bytes, sizeof(bytes));
			traffic->sent += r > 0 ? (unsigned)r : 0;
		}
		play_note(progress, traffic->sent);
	}
	return r < 0 ? (int)r : 0;
}

/* One record of a queue, with copying or without: its length, or how it ended. The last loan that was
 * looked at is kept until there is another one. */
static int64_t
receive_record(
	struct ivshmem_channel *channel, struct traffic *traffic, uint8_t *bytes, size_t size)
{
	const void *record;
	int64_t r;

	if (traffic->received % 2)
		return ivshmem_queue_receive(channel, bytes, size);
	r = ivshmem_queue_peek(channel, &record);
	if (r < 0)
		return r;
	CHECK((size_t)r <= size);
	memcpy(bytes, record, (size_t)r);
	if (ivshmem_loan_keep(channel, record) == 0) {
		if (traffic->kept)
			CHECK_EQ(ivshmem_loan_return(channel, traffic->kept), 0);
		traffic->kept = record;
	}
	CHECK_EQ(ivshmem_queue_release(channel), 0);
	return r;
}

/* Receive all there is; how it ended. A stream's end is that of a queue. */
static int
receive_all(struct ivshmem_channel *channel, struct traffic *traffic)
{
	uint8_t bytes[200];

	for (;;) {
		int64_t r = traffic->kind == IVSHMEM_QUEUE
				    ? receive_record(channel, traffic, bytes, sizeof(bytes))
				    : ivshmem_stream_read(channel, bytes, sizeof(bytes));

		if (r == 0 && traffic->kind == IVSHMEM_STREAM)
			return -EPIPE;
		if (r < 0)
			return (int)r;
		if (traffic->kind == IVSHMEM_QUEUE) {
			CHECK(play_is_record(bytes, r, traffic->received));
			traffic->received++;
		} else {
			for (int64_t i = 0; i < r; i++)
				CHECK_EQ(bytes[i], byte_of(traffic->received + (unsigned)i));
			traffic->received += (unsigned)r;
		}
	}
}

/* ---- who dies -------------------------------------------------------------------------------- */

#define TURNS 9

static void
die(const struct play *play)
{
	struct traffic traffic = traffic_of(play);
	struct ivshmem_participant *participant = stage_join(DEAD_AREA);
	struct ivshmem_channel *listener = NULL;
	struct ivshmem_channel *channel = NULL;

	play_end_turn();
	if (play->listens)
		listener = stage_listen(participant, play->kind);
	else
		channel = stage_connect(participant, play->kind);
	play_end_turn();
	if (play->listens)
		channel = stage_accept(listener);
	for (unsigned i = 0; i < 3; i++) {
		send_some(channel, &traffic, cast.progress);
		play_end_turn();
		receive_all(channel, &traffic);
	}
	/* Until there is no room. */
	while (send_some(channel, &traffic, cast.progress) == 0)
		;
	play_end_turn();
	send_some(channel, &traffic, cast.progress);
	CHECK_EQ(ivshmem_channel_shutdown(channel), 0);
	play_end_turn();
	receive_all(channel, &traffic);
	ivshmem_channel_close(channel);
	ivshmem_channel_close(listener);
	play_end_turn();
	ivshmem_participant_close(participant);
	play_end_turn();
}

/* ---- who survives ---------------------------------------------------------------------------- */

static struct {
	struct ivshmem_channel *listener, *channel;
	struct traffic traffic;
} ours;

static void
begin(const struct play *play)
{
	ours.listener = play->listens ? NULL : stage_listen(cast.survivor, play->kind);
	ours.channel = NULL;
	ours.traffic = traffic_of(play);
}

static void
find_channel(const struct play *play)
{
	int r;

	if (ours.listener) {
		r = ivshmem_accept(&ours.channel, ours.listener);
		CHECK(r == 0 || r == -EAGAIN);
	} else {
		r = ivshmem_connect(&ours.channel, cast.survivor, STAGE_NAME, play->kind,
			&stage_options, 0, NULL);
		CHECK(r == 0 || r == -ENOENT);
	}
}

static void
act(const struct play *play)
{
	if (!ours.channel)
		find_channel(play);
	if (!ours.channel)
		return;
	receive_all(ours.channel, &ours.traffic);
	send_some(ours.channel, &ours.traffic, NULL);
}

static void
learn(const struct play *play, bool taken)
{
	unsigned sent = cast.progress->sent;

	/* What it had sent when it died is there, even if we have not accepted yet. */
	if (!ours.channel && ours.listener)
		find_channel(play);
	if (ours.channel) {
		int r = receive_all(ours.channel, &ours.traffic);

		/* If nobody has looked since the other one died, receiving alone does not tell. */
		CHECK(play_is_end(r) || (taken && r == -EAGAIN));
		CHECK_EQ(ivshmem_participant_dispatch(cast.survivor), 0);
		if (r == -EAGAIN)
			r = receive_all(ours.channel, &ours.traffic);
		CHECK(play_is_end(r));
		CHECK(play_is_end(send_some(ours.channel, &ours.traffic, NULL)));
		CHECK(taken || ours.traffic.received >= sent);
		CHECK_EQ(ivshmem_channel_wait(ours.channel, IVSHMEM_READABLE, 1000),
			IVSHMEM_READABLE);
	} else {
		CHECK(taken || sent == 0);
	}
	/* And nothing but what it was about to send. */
	CHECK(ours.traffic.received <= sent + (play->kind == IVSHMEM_QUEUE ? 1 : PLAY_RECORD));
	ours.channel = ivshmem_channel_close(ours.channel);
	ours.listener = ivshmem_channel_close(ours.listener);
}

/* Both ways, in the same roles. */
static void
carry_on(const struct play *play, struct ivshmem_participant *next)
{
	struct traffic there = traffic_of(play), here = there;
	struct ivshmem_participant *one = play->listens ? next : cast.survivor;
	struct ivshmem_participant *other = play->listens ? cast.survivor : next;
	struct ivshmem_channel *listener = stage_listen(one, play->kind);
	struct ivshmem_channel *from = stage_connect(other, play->kind);
	struct ivshmem_channel *to = stage_accept(listener);

	CHECK_EQ(send_some(from, &there, NULL), 0);
	CHECK_EQ(receive_all(to, &there), -EAGAIN);
	CHECK_EQ(there.received, there.sent);
	CHECK_EQ(send_some(to, &here, NULL), 0);
	CHECK_EQ(receive_all(from, &here), -EAGAIN);
	CHECK_EQ(here.received, here.sent);
	ivshmem_channel_close(from);
	ivshmem_channel_close(to);
	ivshmem_channel_close(listener);
	CHECK_EQ(ivshmem_participant_dispatch(other), 0);
	CHECK_EQ(ivshmem_participant_dispatch(one), 0);
}

static struct play
play_of(enum ivshmem_channel_kind kind, bool listens, bool lends)
{
	return (struct play){
		.kind = kind,
		.listens = listens,
		.lends = lends,
		.die = die,
		.turns = TURNS,
		.open = begin,
		.act = act,
		.learn = learn,
		.carry_on = carry_on,
	};
}

static void
play_in(enum ivshmem_channel_kind kind, bool listens, bool lends)
{
	const struct play play = play_of(kind, listens, lends);

	play_everywhere(&play);
}

TEST_WITH(queue_that_connects, .timeout_s = 1200)
{
	play_in(IVSHMEM_QUEUE, false, false);
}

TEST_WITH(queue_that_listens, .timeout_s = 1200)
{
	play_in(IVSHMEM_QUEUE, true, false);
}

TEST_WITH(queue_of_loans_that_connects, .timeout_s = 1200)
{
	play_in(IVSHMEM_QUEUE, false, true);
}

TEST_WITH(queue_of_loans_that_listens, .timeout_s = 1200)
{
	play_in(IVSHMEM_QUEUE, true, true);
}

TEST_WITH(stream_that_connects, .timeout_s = 1200)
{
	play_in(IVSHMEM_STREAM, false, false);
}

TEST_WITH(stream_that_listens, .timeout_s = 1200)
{
	play_in(IVSHMEM_STREAM, true, false);
}

/* ---- at any moment --------------------------------------------------------------------------- */

/* While both of them are busy, with interrupts. */
static void
die_in_traffic(unsigned round)
{
	const struct play play = play_of(IVSHMEM_QUEUE, false, false);
	uint64_t killed;
	pid_t pid;
	int r;

	play_begin(&play);
	pid = test_fork();
	if (pid == 0) {
		struct traffic traffic = {.kind = IVSHMEM_QUEUE};
		struct ivshmem_channel *channel =
			stage_connect(stage_join(DEAD_AREA), IVSHMEM_QUEUE);

		for (;;) {
			ivshmem_channel_wait(channel, IVSHMEM_WRITABLE, -1);
			send_some(channel, &traffic, cast.progress);
			receive_all(channel, &traffic);
		}
	}
	CHECK_EQ(ivshmem_channel_wait(ours.listener, IVSHMEM_READABLE, 20000), IVSHMEM_READABLE);
	find_channel(&play);
	for (unsigned i = 0; i < round; i++) {
		CHECK(ivshmem_channel_wait(ours.channel, IVSHMEM_READABLE, 20000) > 0);
		act(&play);
	}
	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, NULL, 0));
	killed = clock_now();
	do {
		CHECK(ivshmem_channel_wait(ours.channel, IVSHMEM_READABLE, 20000) > 0);
		r = receive_all(ours.channel, &ours.traffic);
	} while (r == -EAGAIN);
	CHECK_EQ(r, -ECONNRESET);
	CHECK(clock_now() - killed < 10 * NSEC_PER_SEC);
	play_end(&play, false);
}

TEST_WITH(in_traffic, .timeout_s = 1200)
{
	unsigned rounds = getenv("IVSHMEM_TEST_LONG") ? 300 : 5;

	for (unsigned round = 0; round < rounds; round++)
		die_in_traffic(round);
}
