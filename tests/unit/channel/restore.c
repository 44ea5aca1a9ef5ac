/* SPDX-License-Identifier: BSD-2-Clause */

/* Restoring a snapshot under participants: who learns of it, what is free, and what is left if it stops. */
#include "channel_room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A snapshot of the room, which the test frees. */
static uint8_t *
save(const struct room *room)
{
	uint8_t *snapshot = aligned_alloc(LAYOUT_PAGE, room->size);

	CHECK(snapshot);
	memcpy(snapshot, room->memory, room->size);
	return snapshot;
}

static void
restore_rest(const struct room *room, const uint8_t *snapshot)
{
	memcpy(room->memory + LAYOUT_PAGE, snapshot + LAYOUT_PAGE, room->size - LAYOUT_PAGE);
}

static void
restore(const struct room *room, const uint8_t *snapshot)
{
	CHECK_EQ(ivshmem_channels_restore_check(snapshot, room->size, NULL), 0);
	CHECK_EQ(ivshmem_channels_restore_begin(room->memory, room->size, NULL), 0);
	restore_rest(room, snapshot);
	CHECK_EQ(ivshmem_channels_restore_end(room->memory, room->size, snapshot, NULL), 0);
}

/* Nobody may take part in what is half-restored. */
static void
check_half_restored(struct room *room)
{
	struct ivshmem_participant *participant;
	struct ivshmem_error error;
	struct map map;

	CHECK_EQ(room_try(room, &participant, 5, &error), -EINPROGRESS);
	CHECK_HAS(error.message, "half-restored");
	CHECK_EQ(map_look(&map, room->memory, room->size, NULL), -EINPROGRESS);
}

TEST(participants_lose_their_areas_before_the_content_changes)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
	struct room room;
	uint8_t *snapshot;
	char buffer[8];

	room_open_pair(&room, &here, &there);
	room_connect(here, there, IVSHMEM_QUEUE, 0, &one, &other);
	CHECK_EQ(ivshmem_queue_send(one, "before", 6), 0);
	snapshot = save(&room);
	CHECK_EQ(ivshmem_channels_restore_begin(room.memory, room.size, NULL), 0);
	/* At their next call, whatever it is. */
	CHECK_EQ(ivshmem_queue_send(one, "x", 1), -ESTALE);
	CHECK_EQ(ivshmem_participant_dispatch(there), -ESTALE);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, sizeof(buffer)), -ESTALE);
	CHECK_EQ(memcmp(room.memory + LAYOUT_PAGE, snapshot + LAYOUT_PAGE, LAYOUT_PAGE), 0);
	check_half_restored(&room);
	restore_rest(&room, snapshot);
	check_half_restored(&room);
	CHECK_EQ(ivshmem_channels_restore_end(room.memory, room.size, snapshot, NULL), 0);
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);

	/* They can come back at once, and find nothing of the old channels. */
	here = room_join(&room, 0);
	there = room_join(&room, 1);
	room_connect(here, there, IVSHMEM_QUEUE, 0, &one, &other);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, sizeof(buffer)), -EAGAIN);
	CHECK_EQ(ivshmem_queue_send(one, "after", 5), 0);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, sizeof(buffer)), 5);
	CHECK_EQ(memcmp(buffer, "after", 5), 0);
	free(snapshot);
	room_close_pair(&room, here, there);
}

TEST(one_that_slept_through_all_of_it_wakes)
{
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *one, *other;
	struct room room;
	uint8_t *snapshot;
	char buffer[8];

	room_open_pair(&room, &here, &there);
	room_connect(here, there, IVSHMEM_QUEUE, 0, &one, &other);
	snapshot = save(&room);
	restore(&room, snapshot);
	/* Its area was taken by another one meanwhile. */
	struct ivshmem_participant *next = room_join(&room, 3);
	CHECK_EQ(ivshmem_channel_wait(other, IVSHMEM_READABLE, 5000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_queue_receive(other, buffer, sizeof(buffer)), -ESTALE);
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	/* What they did when they left concerned nobody. */
	CHECK_EQ(ivshmem_participant_dispatch(next), 0);
	ivshmem_participant_close(next);
	free(snapshot);
	room_close(&room);
}

TEST(generations_go_on_from_both)
{
	struct ivshmem_participant *here, *there;
	struct layout_header *header;
	struct room room;
	uint8_t *snapshot;
	uint64_t epoch;

	room_open_pair(&room, &here, &there);
	header = (struct layout_header *)(void *)room.memory;
	snapshot = save(&room);
	epoch = header->epoch;
	header->claims[0] = layout_claim(9, LAYOUT_OWNED);
	((struct layout_header *)(void *)snapshot)->claims[1] = layout_claim(7, LAYOUT_OWNED);
	((struct layout_header *)(void *)snapshot)->claims[2] = layout_claim(3, LAYOUT_LEFT);
	restore(&room, snapshot);
	CHECK_EQ(header->claims[0], layout_claim(9, LAYOUT_FREE));
	CHECK_EQ(header->claims[1], layout_claim(7, LAYOUT_FREE));
	CHECK_EQ(header->claims[2], layout_claim(3, LAYOUT_FREE));
	CHECK(header->epoch != epoch && header->epoch != 0);
	CHECK_EQ(header->magic, LAYOUT_MAGIC);
	CHECK_EQ(memcmp(room.memory + LAYOUT_PAGE, snapshot + LAYOUT_PAGE, room.size - LAYOUT_PAGE),
		0);
	free(snapshot);
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	room_close(&room);
}

TEST(other_content_comes_back_as_it_was)
{
	struct room room;
	uint8_t *snapshot;

	room_open(&room, ROOM_SIZE);
	for (uint64_t i = 0; i < room.size; i++)
		room.memory[i] = (uint8_t)(i * 7 + 1);
	snapshot = save(&room);
	memset(room.memory, 0x55, room.size);
	restore(&room, snapshot);
	CHECK_EQ(memcmp(room.memory, snapshot, room.size), 0);
	free(snapshot);
	room_close(&room);
}

TEST(what_cannot_be_restored_is_refused_before_anything_changes)
{
	struct ivshmem_error error;
	struct room room;
	uint8_t *snapshot;
	uint64_t *magic;

	room_open(&room, ROOM_SIZE);
	snapshot = save(&room);
	magic = (uint64_t *)(void *)snapshot;
	*magic = LAYOUT_RESTORING;
	CHECK_EQ(ivshmem_channels_restore_check(snapshot, room.size, &error), -EINPROGRESS);
	CHECK_HAS(error.message, "half-restored itself");
	*magic = LAYOUT_MAGIC + (UINT64_C(1) << 48);
	CHECK_EQ(ivshmem_channels_restore_check(snapshot, room.size, &error), -EPROTONOSUPPORT);
	CHECK_EQ(ivshmem_channels_restore_end(room.memory, room.size, snapshot, &error),
		-EPROTONOSUPPORT);
	CHECK_EQ(*(uint64_t *)(void *)room.memory, 0);
	CHECK_EQ(ivshmem_channels_restore_begin(room.memory + 8, room.size, &error), -EINVAL);
	CHECK_EQ(ivshmem_channels_restore_begin(room.memory, 100, &error), -EINVAL);
	CHECK_EQ(ivshmem_channels_restore_begin(NULL, room.size, &error), -EINVAL);
	CHECK_EQ(ivshmem_channels_restore_check(snapshot, 100, &error), -EINVAL);
	free(snapshot);
	room_close(&room);
}

/* Between any two stores of the header: what the header page is after the first `n` words of it. */
TEST(half_a_header_is_half_restored)
{
	struct ivshmem_participant *here, *there;
	struct room room;
	uint8_t *snapshot;
	uint8_t whole[LAYOUT_PAGE];

	room_open_pair(&room, &here, &there);
	snapshot = save(&room);
	restore(&room, snapshot);
	memcpy(whole, room.memory, sizeof(whole));
	for (unsigned n = 8; n <= LAYOUT_PAGE; n += 8) {
		memcpy(room.memory, snapshot, LAYOUT_PAGE);
		CHECK_EQ(ivshmem_channels_restore_begin(room.memory, room.size, NULL), 0);
		memcpy(room.memory + 8, whole + 8, n - 8);
		check_half_restored(&room);
	}
	/* Either of them mends it. */
	restore(&room, snapshot);
	ivshmem_participant_close(room_join(&room, 4));
	CHECK_EQ(ivshmem_channels_restore_begin(room.memory, room.size, NULL), 0);
	CHECK_EQ(ivshmem_channels_format(room.memory, room.size, 4, NULL), 0);
	ivshmem_participant_close(room_join(&room, 4));
	free(snapshot);
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	room_close(&room);
}
