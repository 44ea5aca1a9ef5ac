/* SPDX-License-Identifier: BSD-2-Clause */

/* A hostile participant writes any words anywhere, all the time, while everybody makes any calls. */

#include "hostile_scene.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANNELS 4

struct flipper {
	pthread_t thread;
	atomic_bool stop;
	uint64_t seed;
	bool header; /* it writes there, too */
};

static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void
flip(uint64_t *word, uint64_t *seed)
{
	static const uint64_t likely[] = {0, 1, 2, 3, UINT64_MAX, UINT32_MAX, 1024, GENERATION};
	uint64_t random = next_random(seed);

	switch (random >> 8 & 3) {
	case 0:
		word_store(word, likely[random >> 16 & 7]);
		break;
	case 1:
		word_store(word, word_load(word) ^ UINT64_C(1) << (random >> 16 & 63));
		break;
	case 2:
		word_store(word, word_load(word) + likely[random >> 16 & 7]);
		break;
	default:
		word_store(word, next_random(seed));
	}
}

static void *
flipper_run(void *data)
{
	struct flipper *flipper = data;
	uint64_t *area = (uint64_t *)(void *)map_area(&stage.map, HOSTILE);

	while (!atomic_load_explicit(&flipper->stop, memory_order_relaxed)) {
		uint64_t random = next_random(&flipper->seed);

		if (flipper->header && random % 64 == 0)
			flip((uint64_t *)(void *)stage.memory + (random >> 8) % 20, &flipper->seed);
		else
			flip(area + (random >> 8) % (AREA / 8), &flipper->seed);
		if (random % 8 == 0)
			usleep(1);
	}
	return NULL;
}

static void
do_something(struct ivshmem_participant *participant, struct ivshmem_channel *listener,
	struct ivshmem_channel **channel, uint64_t random)
{
	uint8_t bytes[300];
	const void *record;
	void *room;
	uint64_t number = random >> 48 & 7;
	int status;
	int64_t r = 0;

	memset(bytes, 'x', sizeof(bytes));
	if (random >> 16 & 1) {
		ivshmem_state_publish(listener, bytes, random >> 8 & 255);
		ivshmem_topic_publish(listener, bytes, random >> 8 & 255);
		ivshmem_channel_wait(listener, IVSHMEM_WRITABLE, 0);
	}
	if (!*channel) {
		if (random & 1)
			ivshmem_accept(channel, listener);
		else
			ivshmem_connect(channel, participant, random & 2 ? STAGE_NAME : "theirs",
				listener->kind, NULL, 0, NULL);
		return;
	}
	switch (random % 20) {
	case 0:
	case 1:
		r = ivshmem_queue_send(*channel, bytes, random >> 8 & 255);
		break;
	case 2:
	case 3:
		r = ivshmem_queue_receive(*channel, bytes, sizeof(bytes));
		CHECK(r <= (int64_t)sizeof(bytes));
		break;
	case 4:
		r = ivshmem_queue_peek(*channel, &record);
		for (int64_t i = 0; i < r; i++)
			bytes[0] |= ((const uint8_t *)record)[i];
		break;
	case 5:
		ivshmem_queue_release(*channel);
		break;
	case 6:
		r = ivshmem_queue_reserve(*channel, random >> 8 & 255, &room);
		if (r == 0)
			memset(room, 'y', random >> 8 & 255);
		ivshmem_queue_commit(*channel, random >> 8 & 127);
		ivshmem_queue_flush(*channel);
		break;
	case 7:
		r = ivshmem_stream_write(*channel, bytes, sizeof(bytes));
		break;
	case 8:
		r = ivshmem_stream_read(*channel, bytes, sizeof(bytes));
		break;
	case 9:
		ivshmem_channel_wait(
			*channel, 1 + (int)((random >> 8) % 3), (int)(random >> 16 & 1));
		break;
	case 10:
		ivshmem_channel_drain(*channel, (int)(random >> 8 & 1));
		break;
	case 11:
		ivshmem_channel_fd(*channel);
		break;
	case 12:
		scene_look_at(participant, *channel);
		break;
	case 13:
		r = ivshmem_state_read(*channel, bytes, random >> 8 & 255, &number);
		break;
	case 14:
	case 15:
		r = ivshmem_topic_receive(*channel, bytes, sizeof(bytes), &number);
		CHECK(r <= (int64_t)sizeof(bytes));
		break;
	case 16:
		r = ivshmem_call_start(
			*channel, bytes, random >> 8 & 255, (int)(random >> 16 & 3) - 1, &number);
		if (random >> 18 & 1)
			ivshmem_call_cancel(*channel, number);
		break;
	case 17:
		r = ivshmem_call_reply(*channel, &number, &status, bytes, random >> 8 & 255);
		break;
	case 18:
		r = ivshmem_call_receive(*channel, &number, bytes, random >> 8 & 255);
		if (r < 0)
			break;
		ivshmem_call_is_cancelled(*channel, number);
		ivshmem_call_answer(*channel, number, -(int)(random & 3), bytes, random >> 8 & 63);
		break;
	default:
		if (listener->kind == IVSHMEM_CALL && random >> 8 & 1)
			ivshmem_call(*channel, bytes, random >> 8 & 255, bytes, sizeof(bytes),
				(int)(random >> 16 & 1));
		else if ((random >> 8 & 3) == 0)
			*channel = ivshmem_channel_close(*channel);
		else if ((random >> 8 & 7) == 1)
			ivshmem_channel_shutdown(*channel);
		else
			stage_check(participant);
	}
	/* Most channels end soon. */
	if (r < 0 && r != -EAGAIN && r != -EINVAL && r != -EMSGSIZE)
		*channel = ivshmem_channel_close(*channel);
}

static void
flip_everything(enum ivshmem_channel_kind kind, bool header, uint64_t seed)
{
	struct flipper flipper = {.seed = seed, .header = header};
	struct ivshmem_channel *of_victim[CHANNELS] = {0}, *of_hostile[CHANNELS] = {0};
	static const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = STAGE_RING, .patience_ms = 1};
	struct ivshmem_channel *listener, *their_listener = NULL;
	struct scene scene;

	scene_open(&scene);
	listener = stage_listen(scene.victim, kind);
	CHECK_EQ(ivshmem_listen(&their_listener, scene.hostile, "theirs", kind, &options, NULL), 0);
	CHECK_EQ(pthread_create(&flipper.thread, NULL, flipper_run, &flipper), 0);
	for (unsigned i = 0; i < test_count(20000); i++) {
		uint64_t random = next_random(&seed);

		do_something(scene.victim, listener, &of_victim[random >> 40 & 3], random);
		random = next_random(&seed);
		do_something(scene.hostile, their_listener, &of_hostile[random >> 40 & 3], random);
	}
	atomic_store(&flipper.stop, true);
	CHECK_EQ(pthread_join(flipper.thread, NULL), 0);
	if (header) {
		CHECK_EQ(ivshmem_channels_format(stage.memory, stage.size, 3, NULL), 0);
		CHECK_EQ(stage_check(scene.victim), -ESTALE);
	}
	ivshmem_participant_close(scene.hostile);
	if (!header) {
		for (unsigned i = 0; i < CHANNELS; i++)
			ivshmem_channel_close(of_victim[i]);
		ivshmem_channel_close(listener);
		/* Whatever it made of its claim, it is gone. */
		word_store(map_claim(&stage.map, HOSTILE), 0);
		CHECK_EQ(stage_check(scene.victim), 0);
		CHECK_EQ(stage_entries(scene.victim), 0);
		stage_prove(scene.victim, scene.bystander);
	}
	ivshmem_participant_close(scene.victim);
	ivshmem_participant_close(scene.bystander);
	stage_close();
}

static void
flip_for_long(enum ivshmem_channel_kind kind, bool header)
{
	unsigned rounds = getenv("IVSHMEM_TEST_LONG") ? 100 : 2;
	const char *given = getenv("TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() << 32 | 1;

	for (unsigned i = 0; i < rounds; i++) {
		fprintf(stderr, "TEST_SEED=%#llx\n", (unsigned long long)seed);
		flip_everything(kind, header, seed);
		next_random(&seed);
	}
}

TEST_WITH(words_of_its_area_queue, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_QUEUE, false);
}

TEST_WITH(words_of_its_area_stream, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_STREAM, false);
}

TEST_WITH(words_of_its_area_call, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_CALL, false);
}

TEST_WITH(words_of_its_area_state, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_STATE, false);
}

TEST_WITH(words_of_its_area_topic, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_TOPIC, false);
}

TEST_WITH(words_of_the_header, .timeout_s = 600)
{
	flip_for_long(IVSHMEM_QUEUE, true);
}
