/* SPDX-License-Identifier: BSD-2-Clause */
#include "channel_room.h"

#include <test.h>

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct seat {
	struct room *room;
	int peer;
};

void
room_open(struct room *room, uint64_t size)
{
	*room = (struct room){.size = size};
	room->memory =
		mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(room->memory != MAP_FAILED);
	for (unsigned peer = 0; peer < ROOM_PEERS; peer++)
		room->eventfds[peer] = CHECK_SYS(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

void
room_close(struct room *room)
{
	for (unsigned peer = 0; peer < ROOM_PEERS; peer++)
		close(room->eventfds[peer]);
	munmap(room->memory, (size_t)room->size);
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
	return participant;
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
