/* SPDX-License-Identifier: BSD-2-Clause */

/* A hostile participant writes between two looks of the victim, or without end. */

#include "hostile_scene.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* ---- between two looks ----------------------------------------------------------------------- */

static void
scene_open_stream(struct scene *scene)
{
	scene_open(scene);
	scene->listener = stage_listen(scene->victim, IVSHMEM_STREAM);
	scene->theirs = stage_connect(scene->hostile, IVSHMEM_STREAM);
	scene->channel = stage_accept(scene->listener);
}

static void
scene_close(struct scene *scene)
{
	ivshmem_channel_close(scene->channel);
	ivshmem_channel_close(scene->listener);
	ivshmem_participant_close(scene->hostile);
	CHECK_EQ(stage_check(scene->victim), 0);
	CHECK_EQ(stage_entries(scene->victim), 0);
	stage_prove(scene->victim, scene->bystander);
	ivshmem_participant_close(scene->victim);
	ivshmem_participant_close(scene->bystander);
	stage_close();
}

static uint64_t *
first_header(const struct scene *scene)
{
	return (uint64_t *)(void *)scene->theirs->writer.data;
}

/* They would be received without an end. */
TEST(stream_of_empty_records)
{
	struct scene scene;
	char bytes[10];

	scene_open_stream(&scene);
	CHECK_EQ(ivshmem_stream_write(scene.theirs, "ab", 2), 2);
	for (unsigned i = 0; i < 5; i++) {
		void *place;

		CHECK_EQ(channel_reserve(scene.theirs, 0, &place), 0);
		ring_commit(&scene.theirs->writer, 0);
		channel_flush(scene.theirs);
	}
	CHECK_EQ(ivshmem_stream_read(scene.channel, bytes, sizeof(bytes)), 2);
	CHECK_EQ(ivshmem_stream_read(scene.channel, bytes, sizeof(bytes)), -EPROTO);
	CHECK_EQ(ivshmem_stream_read(scene.channel, bytes, sizeof(bytes)), -EPROTO);
	scene_close(&scene);
}

TEST(stream_record_shrinks)
{
	static const uint32_t lengths[] = {
		0, 1, 49, 50, 51, STAGE_RING / 2 - 16, STAGE_RING / 2 - 15, INT32_MAX, UINT32_MAX};

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct scene scene;
		char bytes[STAGE_RING];
		int64_t r;

		scene_open_stream(&scene);
		memset(bytes, 'x', RECORD);
		CHECK_EQ(ivshmem_stream_write(scene.theirs, bytes, RECORD), RECORD);
		CHECK_EQ(ivshmem_stream_read(scene.channel, bytes, 50), 50);
		*first_header(&scene) += lengths[i] - (uint64_t)RECORD;
		r = ivshmem_stream_read(scene.channel, bytes, sizeof(bytes));
		if (lengths[i] > 50 && lengths[i] <= STAGE_RING / 2 - 16)
			CHECK_EQ(r, lengths[i] - 50);
		else
			CHECK_EQ(r, -EPROTO);
		scene_close(&scene);
	}
}

/* What the victim looked at is what it releases. */
TEST(record_changes_after_the_peek)
{
	struct scene scene;
	const void *record;

	scene_open_queue(&scene, TALKS);
	CHECK_EQ(ivshmem_queue_peek(scene.channel, &record), RECORD);
	*first_header(&scene) = UINT64_MAX;
	CHECK_EQ(ivshmem_queue_release(scene.channel), 0);
	CHECK_EQ(ivshmem_queue_receive(scene.channel, (char[RECORD]){0}, RECORD), RECORD);
	CHECK_EQ(ivshmem_queue_receive(scene.channel, (char[RECORD]){0}, RECORD), -EAGAIN);
	scene_close(&scene);
}

/* ---- without end ----------------------------------------------------------------------------- */

struct hammer {
	pthread_t thread;
	atomic_bool stop;
	uint64_t *word;
	uint64_t add;
};

static void *
hammer_run(void *data)
{
	struct hammer *hammer = data;

	while (!atomic_load_explicit(&hammer->stop, memory_order_relaxed))
		__atomic_fetch_add(hammer->word, hammer->add, __ATOMIC_RELAXED);
	return NULL;
}

/* Somebody adds to this word all the time. */
static void
hammer_start(struct hammer *hammer, uint64_t *word, uint64_t add)
{
	*hammer = (struct hammer){.word = word, .add = add};
	CHECK_EQ(pthread_create(&hammer->thread, NULL, hammer_run, hammer), 0);
}

static void
hammer_stop(struct hammer *hammer)
{
	atomic_store(&hammer->stop, true);
	CHECK_EQ(pthread_join(hammer->thread, NULL), 0);
}

/* The hostile one is so fast that it gives another notice while the last one is looked at, and connects anew. */
static uint64_t *connecting;

static void
give_another_notice(struct ivshmem_participant *participant, unsigned area, uint64_t bits)
{
	channel_area_changed(participant, area, bits);
	if (area != HOSTILE)
		return;
	map_notice(&stage.map, HOSTILE, 0)->bits = ~participant->neighbours[HOSTILE].seen;
	if (connecting)
		*connecting += GENERATION;
}

TEST(notices_all_the_time)
{
	struct scene scene;
	struct ivshmem_channel *other;
	int records;

	scene_open_queue(&scene, TALKS);
	scene.victim->area_changed = give_another_notice;
	for (unsigned polls = 0; polls < 2; polls++) {
		CHECK_EQ(stage_check(scene.victim), 0);
		scene_receive_all(scene.channel, &records);
		CHECK_EQ(scene_receive_all(scene.channel, &records), -EAGAIN);
		CHECK_EQ(scene_send_all(scene.channel), -EAGAIN);
		CHECK_EQ(ivshmem_accept(&other, scene.listener), -EAGAIN);
		CHECK_EQ(ivshmem_channel_wait(scene.channel, IVSHMEM_READABLE, 20), -ETIMEDOUT);
		CHECK_EQ(ivshmem_channel_drain(scene.channel, 20), -ETIMEDOUT);
		CHECK(ivshmem_channel_fd(scene.channel) >= 0);
		CHECK(ivshmem_channel_fd(scene.listener) >= 0);
	}
	scene.victim->area_changed = channel_area_changed;
	scene_close(&scene);
}

TEST(impossible_connections_all_the_time)
{
	struct scene scene;
	struct ivshmem_channel *other;
	int fd;

	scene_open_queue(&scene, TALKS);
	other = stage_connect(scene.hostile, IVSHMEM_QUEUE);
	other->own->ring_size = 3;
	connecting = &other->own->state;
	scene.victim->area_changed = give_another_notice;
	fd = ivshmem_channel_fd(scene.listener);
	for (unsigned i = 0; i < 10; i++) {
		CHECK_EQ(ivshmem_accept(&other, scene.listener), -EAGAIN);
		/* There is more to do. */
		CHECK(is_readable(fd));
	}
	scene.victim->area_changed = channel_area_changed;
	scene_close(&scene);
}

/* The caller has room in its ring, but in its table of calls only when there is an answer. */
TEST(calls_are_never_answered)
{
	static const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = 65536};
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	struct ivshmem_participant *victim, *hostile;
	struct ivshmem_channel *listener, *channel, *theirs;
	uint64_t call;
	char reply[8];

	stage_open(2, 256 * 1024);
	victim = stage_join(0);
	hostile = stage_join(HOSTILE);
	CHECK_EQ(ivshmem_listen(&listener, hostile, "calls", IVSHMEM_CALL, &options, NULL), 0);
	CHECK_EQ(ivshmem_connect(&channel, victim, "calls", IVSHMEM_CALL, &options, 0, NULL), 0);
	theirs = stage_accept(listener);
	for (unsigned i = 0; i < IVSHMEM_CALLS_MAX; i++) {
		CHECK_EQ(ivshmem_call_start(channel, "x", 1, -1, &call), 0);
		CHECK_EQ(ivshmem_call_receive(theirs, &call, reply, sizeof(reply)), 1);
		CHECK_EQ(ivshmem_call_cancel(channel, call), 0);
	}
	CHECK_EQ(ivshmem_call(channel, "x", 1, reply, sizeof(reply), 50), -ETIMEDOUT);
	CHECK_EQ(ivshmem_channel_status(channel, &status), 0);
	CHECK(status.sleeps > 0);
	ivshmem_participant_close(hostile);
	ivshmem_participant_close(victim);
	stage_close();
}

TEST(claims_all_the_time)
{
	struct hammer hammer;
	struct scene scene;
	struct ivshmem_participant *next = NULL;
	int r;

	scene_open_queue(&scene, LISTENS);
	hammer_start(&hammer, map_claim(&stage.map, HOSTILE), GENERATION | 2);
	for (unsigned i = 0; i < 20; i++) {
		r = stage_try(&next, 3);
		CHECK(r == 0 || r == -ENOSPC);
		if (r == 0)
			ivshmem_participant_close(next);
		stage_check(scene.victim);
		scene_look_at(scene.victim, NULL);
	}
	hammer_stop(&hammer);
	ivshmem_participant_close(scene.hostile);
	ivshmem_participant_close(scene.victim);
	ivshmem_participant_close(scene.bystander);
	stage_close();
}
