/* SPDX-License-Identifier: BSD-2-Clause */

/* Who dies publishes a topic, or reads one. */

#include "deaths_play.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 4  /* in a turn; all readers keep up with so many */
#define MANY    30 /* more than the ring holds */

/* ---- records --------------------------------------------------------------------------------- */

/* How many bytes each record has more. With many, a publisher overwrites all that readers who were
 * overtaken could go on with. */
#define LONG 250
static unsigned more;

/* Record n of the topic is record n, and `more` bytes. */
static uint32_t
fill(uint8_t *record, unsigned number)
{
	uint32_t length = play_fill(record, number);

	stage_fill(record + length, more, number);
	return length + more;
}

static bool
is_record(const uint8_t *record, int64_t length, unsigned number)
{
	return length >= more && play_is_record(record, length - more, number) &&
	       stage_is_filled(record + length - more, more, number);
}

static struct ivshmem_channel *
open_topic(struct ivshmem_participant *participant, const struct play *play)
{
	const struct ivshmem_channel_options options = {.struct_size = sizeof(options),
		.ring_size = STAGE_RING,
		.patience_ms = play->patience_ms};
	struct ivshmem_channel *channel = NULL;

	CHECK_EQ(ivshmem_listen(&channel, participant, STAGE_NAME, IVSHMEM_TOPIC, &options, NULL),
		0);
	return channel;
}

/* The next n records; how it ended. */
static int
publish(struct ivshmem_channel *channel, unsigned *number, unsigned n, struct progress *progress)
{
	uint8_t record[PLAY_RECORD + LONG];

	for (unsigned i = 0; i < n; i++) {
		uint32_t length = fill(record, *number + 1);
		int r = ivshmem_topic_publish(channel, record, length);

		if (r < 0)
			return r;
		play_note(progress, ++*number);
	}
	return 0;
}

struct reader {
	struct ivshmem_participant *participant;
	struct ivshmem_channel *channel;
	unsigned number; /* of the last record that it received, or that was there when it came */
	bool unsure;     /* one more may have been there */
	unsigned missed;
};

/* 0, or how it ended. */
static int
receive(struct reader *reader)
{
	uint8_t record[PLAY_RECORD + LONG];
	uint64_t missed = 0;
	int64_t r = ivshmem_topic_receive(reader->channel, record, sizeof(record), &missed);

	if (r < 0)
		return (int)r;
	reader->number += 1 + (unsigned)missed;
	reader->missed += (unsigned)missed;
	if (reader->unsure && !is_record(record, r, reader->number))
		reader->number++;
	reader->unsure = false;
	CHECK(is_record(record, r, reader->number));
	return 0;
}

static int
receive_all(struct reader *reader)
{
	int r;

	do {
		r = receive(reader);
	} while (r == 0);
	return r;
}

/* ---- who dies -------------------------------------------------------------------------------- */

static void
die_publishing(const struct play *play)
{
	struct ivshmem_participant *participant = stage_join(DEAD_AREA);
	struct ivshmem_channel *channel;
	unsigned number = 0;

	play_end_turn();
	channel = open_topic(participant, play);
	play_end_turn();
	for (unsigned i = 0; i < 2; i++) {
		publish(channel, &number, RECORDS, cast.progress);
		play_end_turn();
		/* If there is no room, it asks for an interrupt. */
		CHECK(ivshmem_channel_fd(channel) >= 0);
	}
	CHECK_EQ(publish(channel, &number, MANY, cast.progress),
		play->patience_ms == 0 ? 0 : -EAGAIN);
	play_end_turn();
	publish(channel, &number, RECORDS, cast.progress);
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
	struct reader reader = {.participant = stage_join(DEAD_AREA), .unsure = true};

	play_end_turn();
	reader.channel = stage_connect(reader.participant, play->kind);
	reader.number = cast.progress->sent;
	play_end_turn();
	CHECK_EQ(receive_all(&reader), -EAGAIN);
	play_end_turn();
	/* It asks for an interrupt. */
	CHECK(ivshmem_channel_fd(reader.channel) >= 0);
	CHECK_EQ(receive_all(&reader), -EAGAIN);
	play_end_turn();
	CHECK_EQ(receive(&reader), 0);
	play_end_turn();
	play_end_turn();
	CHECK_EQ(receive_all(&reader), -EAGAIN);
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

/* What the other one has published completely was received, and perhaps what it was about to. */
static void
check_last(const struct play *play, const struct reader *reader)
{
	CHECK(reader->number >= cast.progress->sent || more > 0);
	CHECK(reader->number <= cast.progress->sent + 1);
	CHECK(play->patience_ms == 0 || reader->missed == 0);
}

static void
act_reading_by(const struct play *play, struct reader *reader, bool reads)
{
	int r;

	if (!reader->channel) {
		r = ivshmem_connect(&reader->channel, reader->participant, STAGE_NAME,
			IVSHMEM_TOPIC, NULL, 0, NULL);
		CHECK(r == 0 || r == -ENOENT);
		reader->number = cast.progress->sent;
		reader->unsure = true;
	}
	if (!reader->channel || !reads)
		return;
	r = receive_all(reader);
	CHECK(r == -EAGAIN || r == -EPIPE);
	check_last(play, reader);
	if (r == -EPIPE)
		reader->channel = ivshmem_channel_close(reader->channel);
}

static void
act_reading(const struct play *play)
{
	act_reading_by(play, &often, true);
	act_reading_by(play, &seldom, cast.progress->sent >= 2 * RECORDS);
}

static void
learn_by(const struct play *play, struct reader *reader, bool taken)
{
	struct ivshmem_channel *late = NULL;
	int r = -EAGAIN;

	/* Before anything else looks whether the other one is still there. */
	if (reader->channel)
		r = receive_all(reader);
	CHECK_EQ(ivshmem_connect(
			 &late, reader->participant, STAGE_NAME, IVSHMEM_TOPIC, NULL, 0, NULL),
		-ENOENT);
	if (!reader->channel)
		return;
	if (r == -EAGAIN)
		r = receive_all(reader);
	CHECK(play_is_end(r) && (!taken || r == -ECONNRESET));
	if (!taken)
		check_last(play, reader);
	CHECK(play_is_end(receive_all(reader)));
	CHECK_EQ(ivshmem_channel_wait(reader->channel, IVSHMEM_READABLE, 1000), IVSHMEM_READABLE);
	reader->channel = ivshmem_channel_close(reader->channel);
}

static void
learn_reading(const struct play *play, bool taken)
{
	learn_by(play, &often, taken);
	learn_by(play, &seldom, taken);
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
	ours.channel = open_topic(cast.survivor, play);
	ours.number = 0;
	ours.reader = (struct reader){.participant = cast.bystander};
	ours.reader.channel = stage_connect(cast.bystander, play->kind);
	/* So that the ring has been around. */
	for (unsigned i = 0; i < 3 * MANY; i++) {
		CHECK_EQ(publish(ours.channel, &ours.number, 1, cast.progress), 0);
		CHECK_EQ(receive(&ours.reader), 0);
	}
}

static void
act_publishing(const struct play *play)
{
	int r = publish(ours.channel, &ours.number, RECORDS, cast.progress);

	CHECK(r == 0 || (r == -EAGAIN && play->patience_ms != 0));
	CHECK_EQ(receive_all(&ours.reader), -EAGAIN);
	CHECK_EQ(ours.reader.number, ours.number);
	CHECK_EQ(ours.reader.missed, 0);
}

/* Whoever waits for it goes on at once. */
static void
learn_publishing(const struct play *play, bool taken)
{
	(void)play;
	(void)taken;
	CHECK_EQ(ivshmem_channel_wait(ours.channel, IVSHMEM_WRITABLE, 0), IVSHMEM_WRITABLE);
	for (unsigned i = 0; i < 2 * MANY; i++) {
		CHECK_EQ(publish(ours.channel, &ours.number, 1, NULL), 0);
		CHECK_EQ(receive(&ours.reader), 0);
		CHECK_EQ(ours.reader.number, ours.number);
	}
	CHECK_EQ(ours.reader.missed, 0);
	CHECK_EQ(subscribers_look(ours.channel), 1);
	ivshmem_channel_close(ours.channel);
	CHECK_EQ(ivshmem_participant_dispatch(cast.bystander), 0);
	CHECK_EQ(receive_all(&ours.reader), -EPIPE);
	ivshmem_channel_close(ours.reader.channel);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void
carry_on(const struct play *play, struct ivshmem_participant *next)
{
	struct ivshmem_participant *publishes = play->listens ? next : cast.survivor;
	struct reader reader = {.participant = play->listens ? cast.survivor : next};
	struct ivshmem_channel *channel = open_topic(publishes, play);
	unsigned number = 0;

	reader.channel = stage_connect(reader.participant, play->kind);
	CHECK_EQ(publish(channel, &number, RECORDS, NULL), 0);
	CHECK_EQ(receive_all(&reader), -EAGAIN);
	CHECK_EQ(reader.number, RECORDS);
	ivshmem_channel_close(reader.channel);
	ivshmem_channel_close(channel);
	CHECK_EQ(ivshmem_participant_dispatch(reader.participant), 0);
	CHECK_EQ(ivshmem_participant_dispatch(publishes), 0);
}

static void
publisher_dies(int patience_ms)
{
	const struct play play = {
		.kind = IVSHMEM_TOPIC,
		.listens = true,
		.patience_ms = patience_ms,
		.die = die_publishing,
		.turns = 9,
		.open = begin_reading,
		.act = act_reading,
		.learn = learn_reading,
		.carry_on = carry_on,
	};

	play_everywhere(&play);
}

static struct play
reader_dies(int patience_ms)
{
	return (struct play){
		.kind = IVSHMEM_TOPIC,
		.patience_ms = patience_ms,
		.die = die_reading,
		.turns = 9,
		.open = begin_publishing,
		.act = act_publishing,
		.learn = learn_publishing,
		.carry_on = carry_on,
	};
}

TEST_WITH(a_publisher, .timeout_s = 1200)
{
	publisher_dies(0);
}

TEST_WITH(a_publisher_of_long_records, .timeout_s = 1200)
{
	more = LONG;
	publisher_dies(0);
}

TEST_WITH(a_publisher_with_patience, .timeout_s = 1200)
{
	publisher_dies(-1);
}

TEST_WITH(a_reader_that_may_miss_records, .timeout_s = 1200)
{
	const struct play play = reader_dies(0);

	play_everywhere(&play);
}

TEST_WITH(a_reader_that_is_waited_for, .timeout_s = 1200)
{
	const struct play play = reader_dies(-1);

	play_everywhere(&play);
}

/* ---- at any moment --------------------------------------------------------------------------- */

/* Who waits for a slow reader without a time limit goes on when that is dead. */
TEST(a_reader_for_whom_somebody_sleeps)
{
	const struct play play = reader_dies(-1);
	pid_t pid;
	int r;

	play_begin(&play);
	pid = test_fork();
	if (pid == 0) {
		stage_connect(stage_join(DEAD_AREA), IVSHMEM_TOPIC);
		for (;;)
			pause();
	}
	while (subscribers_look(ours.channel) < 2)
		CHECK_EQ(ivshmem_participant_dispatch(cast.survivor), 0);
	do {
		r = publish(ours.channel, &ours.number, 1, NULL);
		receive_all(&ours.reader);
	} while (r == 0);
	CHECK_EQ(r, -EAGAIN);
	CHECK_EQ(ivshmem_channel_wait(ours.channel, IVSHMEM_WRITABLE, 10), -ETIMEDOUT);
	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, NULL, 0));
	CHECK_EQ(ivshmem_channel_wait(ours.channel, IVSHMEM_WRITABLE, 20000), IVSHMEM_WRITABLE);
	CHECK_EQ(publish(ours.channel, &ours.number, 1, NULL), 0);
	CHECK_EQ(receive(&ours.reader), 0);
	play_end(&play, false);
}

/* Who has closed a topic or a state keeps it for its readers, and not for dead ones. */
TEST(a_reader_of_what_was_closed)
{
	static const enum ivshmem_channel_kind kinds[] = {IVSHMEM_TOPIC, IVSHMEM_STATE};

	for (unsigned i = 0; i < 2; i++) {
		struct ivshmem_participant *publishes;
		struct ivshmem_channel *channel;
		uint64_t room;
		pid_t pid;

		stage_open(2, AREA);
		publishes = stage_join(0);
		room = heap_largest(&publishes->heap);
		channel = stage_listen(publishes, kinds[i]);
		pid = test_fork();
		if (pid == 0) {
			stage_connect(stage_join(1), kinds[i]);
			for (;;)
				pause();
		}
		while (subscribers_look(channel) < 1)
			CHECK_EQ(ivshmem_participant_dispatch(publishes), 0);
		ivshmem_channel_close(channel);
		CHECK_EQ(stage_check(publishes), 0);
		CHECK_EQ(stage_entries(publishes), 1);
		CHECK_SYS(kill(pid, SIGKILL));
		CHECK_SYS(waitpid(pid, NULL, 0));
		CHECK_EQ(stage_check(publishes), 0);
		CHECK_EQ(stage_entries(publishes), 0);
		CHECK_EQ(heap_largest(&publishes->heap), room);
		ivshmem_participant_close(publishes);
		stage_close();
	}
}
