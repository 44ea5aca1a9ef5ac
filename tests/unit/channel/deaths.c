/* SPDX-License-Identifier: BSD-2-Clause */

/* Who is taken for dead, and who is not; who dies in the area of a dead one. */

#include "deaths_play.h"

#include <base/clock.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- who is not dead ------------------------------------------------------------------------- */

static int
count(void *data, const struct ivshmem_participant_info *info)
{
	(void)info;
	(*(unsigned *)data)++;
	return 0;
}

/* Each owner has its own two seconds: that the last one was seen moving in, long ago, is not held against the next. */
TEST(who_moves_in_is_given_time)
{
	struct ivshmem_participant *participant;
	unsigned n = 0;

	stage_open(2, AREA);
	participant = stage_join(0);
	word_store(map_claim(&stage.map, 1), layout_claim(5, LAYOUT_OWNED));
	CHECK_EQ(ivshmem_participants(participant, count, &n), 0);
	CHECK_EQ(n, 1);
	CHECK_EQ(*map_claim(&stage.map, 1), layout_claim(5, LAYOUT_OWNED));
	participant->neighbours[1].unready_since -= 10 * NSEC_PER_SEC;
	word_store(map_claim(&stage.map, 1), layout_claim(6, LAYOUT_OWNED));
	CHECK_EQ(ivshmem_participants(participant, count, &n), 0);
	CHECK_EQ(*map_claim(&stage.map, 1), layout_claim(6, LAYOUT_OWNED));
	participant->neighbours[1].unready_since -= 10 * NSEC_PER_SEC;
	CHECK_EQ(ivshmem_participants(participant, count, &n), 0);
	CHECK_EQ(*map_claim(&stage.map, 1), layout_claim(6, LAYOUT_DEAD));
	ivshmem_participant_close(participant);
	stage_close();
}

/* Whoever comes waits until that is over, if there is no other area. */
TEST(who_died_while_it_moved_in_is_waited_for)
{
	struct ivshmem_participant *participant, *next;

	stage_open(2, AREA);
	participant = stage_join(0);
	word_store(map_claim(&stage.map, 1), layout_claim(5, LAYOUT_OWNED));
	next = stage_join(1);
	CHECK_EQ(ivshmem_participant_area(next), 1);
	CHECK_EQ(*map_claim(&stage.map, 1), layout_claim(6, LAYOUT_OWNED));
	stage_prove(participant, next);
	ivshmem_participant_close(next);
	ivshmem_participant_close(participant);
	stage_close();
}

/* ---- who is taken for dead ------------------------------------------------------------------- */

/* It still lives. */
struct victim {
	struct ivshmem_participant *participant;
	struct ivshmem_channel *listener, *channel;
};

static void
do_one(struct victim *victim, unsigned what)
{
	struct ivshmem_channel *channel = victim->channel;
	char bytes[8];

	switch (what) {
	case 0:
		CHECK_EQ(ivshmem_queue_send(channel, "late", 4), -ESTALE);
		break;
	case 1:
		CHECK_EQ(ivshmem_queue_flush(channel), -ESTALE);
		break;
	case 2:
		CHECK_EQ(ivshmem_queue_publish(channel), -ESTALE);
		break;
	case 3:
		CHECK_EQ(ivshmem_queue_commit(channel, 1), -ESTALE);
		break;
	case 4:
		/* Its position would be told. */
		for (unsigned i = 0; i < 4; i++)
			ivshmem_queue_receive(channel, bytes, sizeof(bytes));
		channel_arm(channel, IVSHMEM_READABLE | IVSHMEM_WRITABLE);
		break;
	case 5:
		CHECK_EQ(ivshmem_channel_wait(channel, IVSHMEM_WRITABLE | IVSHMEM_READABLE, 1000),
			IVSHMEM_WRITABLE | IVSHMEM_READABLE);
		break;
	case 6:
		CHECK_EQ(ivshmem_channel_drain(channel, 1000), -ESTALE);
		break;
	case 7:
		CHECK_EQ(ivshmem_channel_shutdown(channel), -ESTALE);
		break;
	case 8:
		ivshmem_channel_close(channel);
		break;
	case 9:
		ivshmem_channel_close(victim->listener);
		break;
	case 10:
		CHECK_EQ(ivshmem_accept(&channel, victim->listener), -ESTALE);
		break;
	case 11:
		CHECK_EQ(ivshmem_connect(&channel, victim->participant, STAGE_NAME, IVSHMEM_QUEUE,
				 NULL, -1, NULL),
			-ESTALE);
		break;
	default:
		CHECK_EQ(ivshmem_listen(
				 &channel, victim->participant, "more", IVSHMEM_QUEUE, NULL, NULL),
			-ESTALE);
	}
}

/* Somebody has the area now. Whatever we do next, we write nothing there. */
TEST(who_was_taken_for_dead_writes_nothing)
{
	for (unsigned what = 0; what <= 12; what++) {
		struct victim victim;
		struct ivshmem_channel *theirs;
		struct ivshmem_participant *other;
		uint8_t *area, *before = malloc(AREA);
		void *place;

		CHECK(before);
		stage_open(2, AREA);
		victim.participant = stage_join(0);
		victim.listener = stage_listen(victim.participant, IVSHMEM_QUEUE);
		other = stage_join(1);
		theirs = stage_connect(other, IVSHMEM_QUEUE);
		victim.channel = stage_accept(victim.listener);
		CHECK_EQ(ivshmem_queue_send(theirs, "text", 4), 0);
		for (unsigned i = 0; i < 3; i++) {
			CHECK_EQ(ivshmem_queue_reserve(victim.channel, 10, &place), 0);
			CHECK_EQ(ivshmem_queue_commit(victim.channel, 10), 0);
		}
		CHECK_EQ(ivshmem_queue_reserve(victim.channel, 10, &place), 0);
		*map_claim(&stage.map, 0) += UINT64_C(1) << 32;
		area = map_area(&stage.map, 0);
		memcpy(before, area, AREA);
		do_one(&victim, what);
		CHECK_MEM(area, before, AREA);
		CHECK_EQ(ivshmem_participant_dispatch(victim.participant), -ESTALE);
		ivshmem_participant_close(victim.participant);
		CHECK_MEM(area, before, AREA);
		ivshmem_participant_close(other);
		stage_close();
		free(before);
	}
}

/* ---- who dies in the area of a dead one ------------------------------------------------------ */

#define SENT 3 /* of each kind, and not received yet */

/* The survivor's ends of channels to the one who had the area before. */
static struct {
	struct ivshmem_channel *listener, *queue, *state, *topic;
	unsigned queue_received, topic_received;
	uint64_t value;
} ours;

static void
send_each(struct ivshmem_channel *queue, struct ivshmem_channel *state,
	struct ivshmem_channel *topic, unsigned first)
{
	uint8_t record[PLAY_RECORD];

	for (unsigned i = first; i < first + SENT; i++) {
		uint32_t length = play_fill(record, i);

		CHECK_EQ(ivshmem_queue_send(queue, record, length), 0);
		CHECK_EQ(ivshmem_state_publish(state, record, length), 0);
		CHECK_EQ(ivshmem_topic_publish(topic, record, length), 0);
	}
}

static struct ivshmem_channel *
listen_as(struct ivshmem_participant *participant, const char *name, enum ivshmem_channel_kind kind)
{
	struct ivshmem_channel *channel = NULL;

	CHECK_EQ(ivshmem_listen(&channel, participant, name, kind, &stage_options, NULL), 0);
	return channel;
}

static void
begin(const struct play *play)
{
	struct ivshmem_participant *before = stage_join(DEAD_AREA);
	struct ivshmem_channel *state = listen_as(before, "state", IVSHMEM_STATE);
	struct ivshmem_channel *topic = listen_as(before, "topic", IVSHMEM_TOPIC);
	struct ivshmem_channel *queue;

	ours.listener = stage_listen(cast.survivor, play->kind);
	queue = stage_connect(before, play->kind);
	ours.queue = stage_accept(ours.listener);
	CHECK_EQ(ivshmem_connect(&ours.state, cast.survivor, "state", IVSHMEM_STATE, NULL, 0, NULL),
		0);
	CHECK_EQ(ivshmem_connect(&ours.topic, cast.survivor, "topic", IVSHMEM_TOPIC, NULL, 0, NULL),
		0);
	ours.queue_received = ours.topic_received = 0;
	ours.value = 0;
	send_each(queue, state, topic, 0);
	/* It dies without a word. */
	participant_mark_dead(before);
	CHECK_EQ(ivshmem_participant_dispatch(before), -ESTALE);
	ivshmem_participant_close(before);
}

/* The same in the same places, with other content. */
static void
die_after_another(const struct play *play)
{
	struct ivshmem_participant *participant = stage_join(DEAD_AREA);
	struct ivshmem_channel *state, *topic;

	play_end_turn();
	state = listen_as(participant, "other state", IVSHMEM_STATE);
	topic = listen_as(participant, "other topic", IVSHMEM_TOPIC);
	send_each(stage_connect(participant, play->kind), state, topic, 1000);
	play_end_turn();
	ivshmem_participant_close(participant);
	play_end_turn();
}

/* What the one before has sent is received, and nothing else. */
static void
act(const struct play *play)
{
	uint8_t record[200];
	uint64_t missed = 0;
	int64_t r;

	(void)play;
	while ((r = ivshmem_queue_receive(ours.queue, record, sizeof(record))) >= 0)
		CHECK(play_is_record(record, r, ours.queue_received++));
	CHECK(r == -EAGAIN || r == -ECONNRESET);
	while ((r = ivshmem_topic_receive(ours.topic, record, sizeof(record), &missed)) >= 0) {
		CHECK_EQ(missed, 0);
		CHECK(play_is_record(record, r, ours.topic_received++));
	}
	CHECK(r == -EAGAIN || r == -ECONNRESET);
	r = ivshmem_state_read(ours.state, record, sizeof(record), &ours.value);
	CHECK(r == -ECONNRESET || (ours.value == SENT && play_is_record(record, r, SENT - 1)));
	CHECK(ours.queue_received <= SENT && ours.topic_received <= SENT);
}

static void
learn(const struct play *play, bool taken)
{
	uint8_t record[200];
	uint64_t missed;

	(void)taken;
	act(play);
	CHECK_EQ(ivshmem_participant_dispatch(cast.survivor), 0);
	act(play);
	CHECK_EQ(ivshmem_queue_receive(ours.queue, record, sizeof(record)), -ECONNRESET);
	CHECK_EQ(ivshmem_topic_receive(ours.topic, record, sizeof(record), &missed), -ECONNRESET);
	CHECK_EQ(ivshmem_state_read(ours.state, record, sizeof(record), &ours.value), -ECONNRESET);
	ivshmem_channel_close(ours.queue);
	ivshmem_channel_close(ours.topic);
	ivshmem_channel_close(ours.state);
	ivshmem_channel_close(ours.listener);
}

TEST_WITH(who_has_the_area_next, .timeout_s = 1200)
{
	static const struct play play = {
		.kind = IVSHMEM_QUEUE,
		.die = die_after_another,
		.turns = 3,
		.open = begin,
		.act = act,
		.learn = learn,
	};

	play_everywhere(&play);
}
