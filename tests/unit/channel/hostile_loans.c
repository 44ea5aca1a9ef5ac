/* SPDX-License-Identifier: BSD-2-Clause */

/* A hostile participant lends what it does not have, or lies about what it has given back. */

#include "hostile_scene.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH 1000

static void
scene_close(struct scene *scene)
{
	ivshmem_channel_close(scene->channel);
	ivshmem_channel_close(scene->listener);
	ivshmem_participant_close(scene->hostile);
	CHECK_EQ(stage_check(scene->victim), 0);
	CHECK_EQ(stage_entries(scene->victim), 0);
	CHECK_EQ(heap_largest(&scene->victim->heap),
		scene->victim->heap.end - scene->victim->heap.start);
	stage_prove(scene->victim, scene->bystander);
	ivshmem_participant_close(scene->victim);
	ivshmem_participant_close(scene->bystander);
	stage_close();
}

/* The victim has accepted the hostile one's queue. */
static void
scene_open_loans(struct scene *scene, enum ivshmem_channel_kind kind)
{
	scene_open(scene);
	scene->listener = stage_listen(scene->victim, kind);
	scene->theirs = stage_connect(scene->hostile, kind);
	scene->channel = stage_accept(scene->listener);
}

/* The header of the record that is sent next. */
static uint64_t *
next_header(const struct scene *scene)
{
	return ring_header_at(&scene->theirs->writer, scene->theirs->writer.tail);
}

/* An honest loan; its description. */
static struct layout_loan *
lend(struct scene *scene)
{
	struct layout_loan *description = (struct layout_loan *)(void *)(next_header(scene) + 1);
	void *bytes;

	CHECK_EQ(ivshmem_loan_take(scene->theirs, LENGTH, &bytes), 0);
	memset(bytes, 'x', LENGTH);
	CHECK_EQ(ivshmem_loan_send(scene->theirs, bytes, LENGTH), 0);
	return description;
}

/* ---- what it lends --------------------------------------------------------------------------- */

#define FIELD(field) offsetof(struct layout_loan, field)

static const struct row {
	const char *name;
	size_t offset;
	uint64_t value;
	int64_t then;
} rows[] = {
	{"another number", FIELD(number), 63, LENGTH},
	{"number 64", FIELD(number), 64, -EPROTO},
	{"number -1", FIELD(number), UINT64_MAX, -EPROTO},
	{"number and more", FIELD(number), UINT64_C(1) << 32, -EPROTO},
	{"offset 0", FIELD(offset), 0, -EPROTO},
	{"offset in the entries", FIELD(offset), 1024, -EPROTO},
	{"odd offset", FIELD(offset), AREA - 1024 + 64, -EPROTO},
	{"last offset", FIELD(offset), AREA - 1024, LENGTH},
	{"offset too late", FIELD(offset), AREA - 896, -EPROTO},
	{"offset at the end", FIELD(offset), AREA, -EPROTO},
	{"offset in the next area", FIELD(offset), AREA + 2048, -EPROTO},
	{"offset -128", FIELD(offset), UINT64_MAX - 127, -EPROTO},
	{"length 0", FIELD(length), 0, 0},
	{"length of the area", FIELD(length), AREA, -EPROTO},
	{"length -1", FIELD(length), UINT64_MAX, -EPROTO},
	{"length of 33 bits", FIELD(length), (UINT64_C(1) << 32) + 1, -EPROTO},
};

TEST(each_word_of_a_loan)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct scene scene;
		const uint8_t *begin, *record;
		int64_t r;

		printf("%s\n", rows[i].name);
		scene_open_loans(&scene, IVSHMEM_QUEUE);
		*(uint64_t *)(void *)((char *)lend(&scene) + rows[i].offset) = rows[i].value;
		r = ivshmem_queue_peek(scene.channel, (const void **)&record);
		CHECK_EQ(r, rows[i].then);
		begin = map_area(&stage.map, HOSTILE);
		if (r >= 0)
			CHECK(record >= begin + stage.map.heap_offset &&
				record + r <= begin + AREA);
		else
			CHECK_EQ(ivshmem_queue_peek(scene.channel, (const void **)&record), r);
		scene_close(&scene);
	}
}

/* Its length is that of a description, and nothing else has a description. */
TEST(records_that_are_almost_loans)
{
	static const uint32_t lengths[] = {0, 8, 16, 23, 25, 32, STAGE_RING, UINT32_MAX};
	const void *record;
	struct scene scene;
	char buffer[8];

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint64_t *header;

		scene_open_loans(&scene, IVSHMEM_QUEUE);
		header = next_header(&scene);
		lend(&scene);
		*header = (*header & ~UINT64_C(0xffffffff)) | lengths[i];
		CHECK_EQ(ivshmem_queue_peek(scene.channel, &record), -EPROTO);
		scene_close(&scene);
	}
	scene_open_loans(&scene, IVSHMEM_STREAM);
	scene.theirs->kind = IVSHMEM_QUEUE;
	lend(&scene);
	scene.theirs->kind = IVSHMEM_STREAM;
	CHECK_EQ(ivshmem_stream_read(scene.channel, buffer, sizeof(buffer)), -EPROTO);
	scene_close(&scene);
}

TEST(a_loan_that_is_lent_twice)
{
	struct layout_loan *first, *second;
	const void *record, *again;
	struct scene scene;

	scene_open_loans(&scene, IVSHMEM_QUEUE);
	first = lend(&scene);
	second = lend(&scene);
	*second = *first;
	CHECK_EQ(ivshmem_queue_peek(scene.channel, &record), LENGTH);
	CHECK_EQ(ivshmem_loan_keep(scene.channel, record), 0);
	CHECK_EQ(ivshmem_queue_release(scene.channel), 0);
	CHECK_EQ(ivshmem_queue_peek(scene.channel, &again), -EPROTO);
	/* Returning what we have is no mistake of ours. */
	CHECK_EQ(ivshmem_loan_return(scene.channel, record), 0);
	scene_close(&scene);
}

TEST(a_loan_that_changes_after_the_peek)
{
	const void *record, *again;
	struct layout_loan *description;
	struct scene scene;
	uint64_t *header;

	scene_open_loans(&scene, IVSHMEM_QUEUE);
	header = next_header(&scene);
	description = lend(&scene);
	CHECK_EQ(ivshmem_queue_peek(scene.channel, &record), LENGTH);
	*description = (struct layout_loan){UINT64_MAX, UINT64_MAX, UINT64_MAX};
	CHECK_EQ(ivshmem_queue_peek(scene.channel, &again), LENGTH);
	CHECK(record == again);
	/* It becomes a record. */
	*header ^= RING_LOAN ^ RING_RECORD;
	CHECK_EQ(ivshmem_queue_peek(scene.channel, &again), sizeof(*description));
	CHECK_EQ(ivshmem_loan_keep(scene.channel, again), -EINVAL);
	CHECK_EQ(ivshmem_queue_release(scene.channel), 0);
	CHECK_EQ(ivshmem_queue_peek(scene.channel, &again), -EAGAIN);
	scene_close(&scene);
}

/* ---- what it gives back ---------------------------------------------------------------------- */

/* Whatever it says, the victim can lend as much as before, one way or the other. */
TEST(any_loans_are_given_back)
{
	unsigned seed = 3, n_sent = 0;
	struct scene scene;
	uint64_t *word, *asks;

	scene_open_loans(&scene, IVSHMEM_QUEUE);
	CHECK_EQ(ivshmem_participant_dispatch(scene.hostile), 0);
	word = &scene.theirs->own->loans;
	asks = &scene.theirs->own->loans_at;
	for (unsigned i = 0; i < 20000; i++) {
		const void *record;
		void *bytes;
		int r = ivshmem_loan_take(
			scene.channel, 1 + (unsigned)rand_r(&seed) % 3000, &bytes);

		*word ^= (uint64_t)(unsigned)rand_r(&seed) << (unsigned)rand_r(&seed) % 40;
		*asks = (unsigned)rand_r(&seed) % 2;
		CHECK(r == 0 || r == -EAGAIN || r == -ENOSPC);
		if (r == 0 && rand_r(&seed) % 8 == 0) {
			CHECK_EQ(ivshmem_loan_drop(scene.channel, bytes), 0);
		} else if (r == 0) {
			r = ivshmem_loan_send(scene.channel, bytes, 1);
			n_sent += r == 0;
			if (r < 0)
				CHECK_EQ(ivshmem_loan_drop(scene.channel, bytes), 0);
		}
		/* It does receive. */
		while (ivshmem_queue_peek(scene.theirs, &record) >= 0)
			CHECK_EQ(ivshmem_queue_release(scene.theirs), 0);
		CHECK_EQ(scene.theirs->error, 0);
		channel_tell_position(scene.theirs);
	}
	CHECK(n_sent > 1000);
	CHECK_EQ(scene.channel->error, 0);
	scene_close(&scene);
}
