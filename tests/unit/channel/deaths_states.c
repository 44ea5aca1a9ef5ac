/* SPDX-License-Identifier: BSD-2-Clause */

/* Who dies publishes a state, or reads one. */

#include "deaths_play.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define VALUES 5 /* in a turn: more than there are slots */

/* ---- values ---------------------------------------------------------------------------------- */

/* Value n is record n. */
static void
publish(struct ivshmem_channel *channel, unsigned *number, unsigned n, struct progress *progress)
{
	uint8_t value[PLAY_RECORD];

	for (unsigned i = 0; i < n; i++) {
		uint32_t length = play_fill(value, *number + 1);

		CHECK_EQ(ivshmem_state_publish(channel, value, length), 0);
		play_note(progress, ++*number);
	}
}

struct reader {
	struct ivshmem_participant *participant;
	struct ivshmem_channel *channel;
	uint64_t number;
};

/* 0 if there was a newer value, or how it ended. */
static int
read_value(struct reader *reader)
{
	uint8_t value[200];
	uint64_t before = reader->number;
	int64_t r = ivshmem_state_read(reader->channel, value, sizeof(value), &reader->number);

	if (r < 0) {
		CHECK_EQ(reader->number, before);
		return (int)r;
	}
	CHECK(reader->number > before);
	CHECK(play_is_record(value, r, (unsigned)reader->number));
	return 0;
}

/* ---- who dies -------------------------------------------------------------------------------- */

static void
die_publishing(const struct play *play)
{
	struct ivshmem_participant *participant = stage_join(DEAD_AREA);
	struct ivshmem_channel *channel;
	unsigned number = 0;

	play_end_turn();
	channel = stage_listen(participant, play->kind);
	play_end_turn();
	publish(channel, &number, 1, cast.progress);
	play_end_turn();
	publish(channel, &number, VALUES, cast.progress);
	play_end_turn();
	publish(channel, &number, 2, cast.progress);
	play_end_turn();
	ivshmem_channel_close(channel);
	play_end_turn();
	/* Its readers have ended by now. */
	CHECK_EQ(ivshmem_participant_dispatch(participant), 0);
	play_end_turn();
	ivshmem_participant_close(participant);
	play_end_turn();
}

static void
die_reading(const struct play *play)
{
	struct reader reader = {.participant = stage_join(DEAD_AREA)};

	play_end_turn();
	reader.channel = stage_connect(reader.participant, play->kind);
	play_end_turn();
	CHECK_EQ(read_value(&reader), 0);
	play_end_turn();
	/* It asks for an interrupt. */
	CHECK(ivshmem_channel_fd(reader.channel) >= 0);
	CHECK_EQ(read_value(&reader), 0);
	CHECK_EQ(read_value(&reader), -EAGAIN);
	play_end_turn();
	CHECK_EQ(read_value(&reader), 0);
	CHECK_EQ(read_value(&reader), -EAGAIN);
	play_end_turn();
	ivshmem_channel_close(reader.channel);
	play_end_turn();
	ivshmem_participant_close(reader.participant);
	play_end_turn();
}

/* ---- who reads, and survives ----------------------------------------------------------------- */

static struct reader often, seldom;

static void
begin_reading(const struct play *play)
{
	(void)play;
	often = (struct reader){.participant = cast.survivor};
	seldom = (struct reader){.participant = cast.bystander};
}

/* The latest value is what the other one has published completely, or what it was about to. */
static void
check_latest(const struct reader *reader)
{
	CHECK(reader->number >= cast.progress->sent);
	CHECK(reader->number <= cast.progress->sent + 1);
}

static void
act_reading_by(struct reader *reader, bool reads)
{
	int r;

	if (!reader->channel) {
		r = ivshmem_connect(&reader->channel, reader->participant, STAGE_NAME,
			IVSHMEM_STATE, NULL, 0, NULL);
		CHECK(r == 0 || r == -ENOENT);
	}
	if (!reader->channel || !reads)
		return;
	r = read_value(reader);
	check_latest(reader);
	CHECK(r == 0 || r == -EAGAIN || r == -EPIPE);
	if (r == -EPIPE)
		reader->channel = ivshmem_channel_close(reader->channel);
}

static void
act_reading(const struct play *play)
{
	(void)play;
	act_reading_by(&often, true);
	act_reading_by(&seldom, cast.progress->sent != 1);
}

static void
learn_by(struct reader *reader, bool taken)
{
	struct reader anew = {.channel = reader->channel};
	struct ivshmem_channel *late = NULL;

	/* Before anything else looks whether the other one is still there. */
	if (reader->channel && taken) {
		CHECK_EQ(read_value(reader), -ECONNRESET);
	} else if (reader->channel) {
		int r = read_value(reader);

		check_latest(reader);
		CHECK(r == 0 || play_is_end(r));
		/* It can be read again, as long as nobody needs the area. */
		if (cast.progress->sent > 0) {
			CHECK_EQ(read_value(&anew), 0);
			CHECK_EQ(anew.number, reader->number);
		}
	}
	CHECK_EQ(ivshmem_connect(
			 &late, reader->participant, STAGE_NAME, IVSHMEM_STATE, NULL, 0, NULL),
		-ENOENT);
	if (!reader->channel)
		return;
	for (unsigned i = 0; i < 2; i++) {
		CHECK(play_is_end(read_value(reader)));
		CHECK_EQ(ivshmem_channel_wait(reader->channel, IVSHMEM_READABLE, 1000),
			IVSHMEM_READABLE);
	}
	reader->channel = ivshmem_channel_close(reader->channel);
}

static void
learn_reading(const struct play *play, bool taken)
{
	(void)play;
	learn_by(&often, taken);
	learn_by(&seldom, taken);
}

/* ---- who publishes, and survives ------------------------------------------------------------- */

static struct {
	struct ivshmem_channel *channel;
	unsigned number;
	struct reader reader;
} ours;

static void
begin_publishing(const struct play *play)
{
	ours.channel = stage_listen(cast.survivor, play->kind);
	ours.number = 0;
	ours.reader = (struct reader){.participant = cast.bystander};
	ours.reader.channel = stage_connect(cast.bystander, play->kind);
	publish(ours.channel, &ours.number, 1, NULL);
}

static void
publish_and_read(void)
{
	publish(ours.channel, &ours.number, VALUES, NULL);
	CHECK_EQ(read_value(&ours.reader), 0);
	CHECK_EQ(ours.reader.number, ours.number);
}

static void
act_publishing(const struct play *play)
{
	(void)play;
	publish_and_read();
}

static void
learn_publishing(const struct play *play, bool taken)
{
	(void)play;
	(void)taken;
	publish_and_read();
	CHECK_EQ(subscribers_look(ours.channel), 1);
	ivshmem_channel_close(ours.channel);
	CHECK_EQ(read_value(&ours.reader), -EPIPE);
	ivshmem_channel_close(ours.reader.channel);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void
carry_on(const struct play *play, struct ivshmem_participant *next)
{
	struct ivshmem_participant *publishes = play->listens ? next : cast.survivor;
	struct reader reader = {.participant = play->listens ? cast.survivor : next};
	struct ivshmem_channel *channel = stage_listen(publishes, play->kind);
	unsigned number = 0;

	publish(channel, &number, VALUES, NULL);
	reader.channel = stage_connect(reader.participant, play->kind);
	CHECK_EQ(read_value(&reader), 0);
	CHECK_EQ(reader.number, number);
	ivshmem_channel_close(reader.channel);
	ivshmem_channel_close(channel);
	CHECK_EQ(ivshmem_participant_dispatch(reader.participant), 0);
}

static const struct play publisher_dies = {
	.kind = IVSHMEM_STATE,
	.listens = true,
	.die = die_publishing,
	.turns = 8,
	.open = begin_reading,
	.act = act_reading,
	.learn = learn_reading,
	.carry_on = carry_on,
};

static const struct play reader_dies = {
	.kind = IVSHMEM_STATE,
	.die = die_reading,
	.turns = 7,
	.open = begin_publishing,
	.act = act_publishing,
	.learn = learn_publishing,
	.carry_on = carry_on,
};

TEST_WITH(a_publisher, .timeout_s = 1200)
{
	play_everywhere(&publisher_dies);
}

TEST_WITH(a_reader, .timeout_s = 1200)
{
	play_everywhere(&reader_dies);
}

/* ---- at any moment --------------------------------------------------------------------------- */

/* Who polls for the next value learns that there will be none. */
TEST(a_publisher_that_is_polled)
{
	struct pollfd fd = {.events = POLLIN};
	pid_t pid;
	int r;

	play_begin(&publisher_dies);
	pid = test_fork();
	if (pid == 0) {
		struct ivshmem_channel *channel =
			stage_listen(stage_join(DEAD_AREA), IVSHMEM_STATE);
		unsigned number = 0;

		publish(channel, &number, VALUES, cast.progress);
		for (;;)
			pause();
	}
	CHECK_EQ(ivshmem_connect(&often.channel, cast.survivor, STAGE_NAME, IVSHMEM_STATE, NULL,
			 20000, NULL),
		0);
	fd.fd = ivshmem_channel_fd(often.channel);
	while (often.number < VALUES)
		if (read_value(&often) < 0)
			CHECK_EQ(poll(&fd, 1, 20000), 1);
	CHECK_EQ(read_value(&often), -EAGAIN);
	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, NULL, 0));
	while ((r = read_value(&often)) == -EAGAIN)
		CHECK_EQ(poll(&fd, 1, 20000), 1);
	CHECK_EQ(r, -ECONNRESET);
	play_end(&publisher_dies, false);
}
