/* SPDX-License-Identifier: BSD-2-Clause */
#include "channel_room.h"

#include <base/clock.h>

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROOF "proof"

struct room stage;

struct seat {
	struct room *room;
	int peer;
};

void
room_open(struct room *room, uint64_t size)
{
	uint8_t *around = mmap(NULL, (size_t)size + 2 * LAYOUT_PAGE, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(around != MAP_FAILED);
	*room = (struct room){.size = size};
	room->memory = mmap(around + LAYOUT_PAGE, (size_t)size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	CHECK(room->memory != MAP_FAILED);
	for (unsigned peer = 0; peer < ROOM_PEERS; peer++)
		room->eventfds[peer] = CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

void
room_close(struct room *room)
{
	for (unsigned peer = 0; peer < ROOM_PEERS; peer++)
		close(room->eventfds[peer]);
	CHECK_SYS(munmap(room->memory - LAYOUT_PAGE, (size_t)room->size + 2 * LAYOUT_PAGE));
}

static int
ring(void *data, uint16_t peer, unsigned vector)
{
	struct seat *seat = data;

	/* A peer of an area that lies can be anybody. */
	if (peer >= ROOM_PEERS || vector != 3)
		return -2;
	__atomic_fetch_add(&seat->room->n_rings, 1, __ATOMIC_RELAXED);
	return seat->room->deaf ? 0 : eventfd_write(seat->room->eventfds[peer], 1);
}

static void
clear(void *data)
{
	struct seat *seat = data;
	eventfd_t count;

	eventfd_read(seat->room->eventfds[seat->peer], &count);
}

static bool
is_gone(void *data, uint16_t peer)
{
	const struct seat *seat = data;

	return peer < ROOM_PEERS && seat->room->gone[peer];
}

static int
on_close(void *data, const struct ivshmem_store *stores, size_t n_stores,
	const struct ivshmem_target *targets, size_t n_targets)
{
	const struct seat *seat = data;
	struct room_word *word = &seat->room->words[seat->peer];

	CHECK(n_stores <= 2 && n_targets <= ROOM_PEERS);
	*word = (struct room_word){.n_stores = n_stores, .n_targets = n_targets};
	for (size_t i = 0; i < n_stores; i++)
		word->stores[i] = stores[i];
	for (size_t i = 0; i < n_targets; i++)
		word->targets[i] = targets[i];
	if (seat->room->on_word) {
		void (*on_word)(void *) = seat->room->on_word;

		seat->room->on_word = NULL;
		on_word(seat->room->on_word_data);
	}
	return 0;
}

void
room_die(struct room *room, int peer)
{
	const struct room_word *word = &room->words[peer];

	for (size_t i = 0; i < word->n_stores; i++) {
		CHECK(word->stores[i].offset % 8 == 0 && word->stores[i].offset < room->size);
		memcpy(room->memory + word->stores[i].offset, &word->stores[i].value, 8);
	}
	for (size_t i = 0; i < word->n_targets; i++) {
		CHECK_EQ(word->targets[i].vector, 3);
		CHECK_SYS(eventfd_write(room->eventfds[word->targets[i].peer], 1));
	}
}

int
room_try(struct room *room, struct ivshmem_participant **ret_participant, int peer,
	struct ivshmem_error *reterr)
{
	struct seat *seat = malloc(sizeof(*seat));
	struct ivshmem_transport transport = {
		.struct_size = sizeof(transport),
		.memory = room->memory,
		.size = room->size,
		.fd = -1,
		.is_gone = is_gone,
		.close = free,
		.data = seat,
	};
	int r;

	*seat = (struct seat){.room = room, .peer = peer};
	if (peer >= 0) {
		transport.ring = ring;
		transport.on_close = on_close;
		transport.fd = room->eventfds[peer];
		transport.clear = clear;
		transport.peer = (uint16_t)peer;
		transport.vector = 3;
	}
	r = ivshmem_participant_open_over(ret_participant, &transport, NULL, reterr);
	if (r < 0)
		free(seat);
	return r;
}

struct ivshmem_participant *
room_join(struct room *room, int peer)
{
	struct ivshmem_participant *participant;

	CHECK_EQ(room_try(room, &participant, peer, NULL), 0);
	/* Whoever rings us may have to wait for a processor. */
	participant->patience = 60 * NSEC_PER_SEC;
	return participant;
}

void
room_open_pair(struct room *room, struct ivshmem_participant **ret_here,
	struct ivshmem_participant **ret_there)
{
	room_open(room, ROOM_SIZE);
	*ret_here = room_join(room, 0);
	*ret_there = room_join(room, 1);
}

void
room_close_pair(
	struct room *room, struct ivshmem_participant *here, struct ivshmem_participant *there)
{
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	room_close(room);
}

void
room_connect(struct ivshmem_participant *here, struct ivshmem_participant *there,
	enum ivshmem_channel_kind kind, uint64_t ring_size, struct ivshmem_channel **ret_here,
	struct ivshmem_channel **ret_there)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = ring_size};
	struct ivshmem_channel *listener;

	CHECK_EQ(ivshmem_listen(&listener, there, "room", kind, &options, NULL), 0);
	CHECK_EQ(ivshmem_connect(ret_here, here, "room", kind, &options, 0, NULL), 0);
	CHECK_EQ(ivshmem_accept(ret_there, listener), 0);
	ivshmem_channel_close(listener);
	CHECK_EQ(ivshmem_participant_dispatch(here), 0);
}

bool
is_readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return CHECK_SYS(poll(&poll_fd, 1, 0)) == 1;
}

/* ---- the stage ------------------------------------------------------------------------------- */

void
stage_open(unsigned areas, uint64_t area_size)
{
	room_open(&stage, LAYOUT_PAGE + areas * area_size);
	CHECK_EQ(map_open(&stage.map, stage.memory, stage.size, areas, NULL), 0);
}

void
stage_close(void)
{
	room_close(&stage);
}

int
stage_try(struct ivshmem_participant **ret_participant, int peer)
{
	return room_try(&stage, ret_participant, peer, NULL);
}

struct ivshmem_participant *
stage_join(int peer)
{
	return room_join(&stage, peer);
}

int
stage_check(struct ivshmem_participant *participant)
{
	participant->next_check = 0;
	return ivshmem_participant_dispatch(participant);
}

unsigned
stage_entries(const struct ivshmem_participant *participant)
{
	unsigned n = 0;

	for (unsigned i = 0; i < participant->map.n_entries; i++)
		n += participant->entries[i] != NULL;
	return n;
}

const struct ivshmem_channel_options stage_options = {
	.struct_size = sizeof(stage_options), .ring_size = STAGE_RING};

struct ivshmem_channel *
stage_listen(struct ivshmem_participant *participant, enum ivshmem_channel_kind kind)
{
	struct ivshmem_channel *listener = NULL;

	CHECK_EQ(ivshmem_listen(&listener, participant, STAGE_NAME, kind, &stage_options, NULL), 0);
	return listener;
}

struct ivshmem_channel *
stage_connect(struct ivshmem_participant *participant, enum ivshmem_channel_kind kind)
{
	struct ivshmem_channel *channel = NULL;

	CHECK_EQ(ivshmem_connect(&channel, participant, STAGE_NAME, kind, &stage_options, 0, NULL),
		0);
	return channel;
}

struct ivshmem_channel *
stage_accept(struct ivshmem_channel *listener)
{
	struct ivshmem_channel *channel = NULL;

	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	return channel;
}

void
stage_fill(uint8_t *record, uint32_t length, unsigned number)
{
	for (uint32_t i = 0; i < length; i++)
		record[i] = (uint8_t)(number * 31 + i * 7 + length);
}

bool
stage_is_filled(const uint8_t *record, uint32_t length, unsigned number)
{
	for (uint32_t i = 0; i < length; i++)
		if (record[i] != (uint8_t)(number * 31 + i * 7 + length))
			return false;
	return true;
}

static void
pass(struct ivshmem_channel *from, struct ivshmem_channel *to, unsigned number)
{
	uint8_t record[100], received[200];

	stage_fill(record, sizeof(record), number);
	CHECK_EQ(ivshmem_queue_send(from, record, sizeof(record)), 0);
	CHECK_EQ(ivshmem_queue_receive(to, received, sizeof(received)), sizeof(record));
	CHECK(stage_is_filled(received, sizeof(record), number));
}

void
stage_prove(struct ivshmem_participant *a, struct ivshmem_participant *b)
{
	struct ivshmem_channel *listener = NULL;
	struct ivshmem_channel *here = NULL;
	struct ivshmem_channel *there = NULL;
	unsigned of_a = stage_entries(a), of_b = stage_entries(b);

	CHECK_EQ(ivshmem_listen(&listener, a, PROOF, IVSHMEM_QUEUE, &stage_options, NULL), 0);
	CHECK_EQ(ivshmem_connect(&there, b, PROOF, IVSHMEM_QUEUE, &stage_options, 0, NULL), 0);
	here = stage_accept(listener);
	pass(there, here, 1);
	for (unsigned i = 2; i < 30; i += 2) {
		pass(here, there, i);
		pass(there, here, i + 1);
	}
	ivshmem_channel_close(there);
	ivshmem_channel_close(here);
	ivshmem_channel_close(listener);
	CHECK_EQ(ivshmem_participant_dispatch(b), 0);
	CHECK_EQ(ivshmem_participant_dispatch(a), 0);
	CHECK_EQ(ivshmem_participant_dispatch(b), 0);
	CHECK_EQ(stage_entries(a), of_a);
	CHECK_EQ(stage_entries(b), of_b);
}
