/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_CHANNEL_ROOM_H
#define UNIT_CHANNEL_ROOM_H

/*
 * Shared memory with participants in this process, or in processes that are forked after room_open().
 * Each one is a peer with an eventfd, as a server would hand them out.
 */

#include <ivshmem/channel.h>

#include <stdbool.h>
#include <stdint.h>

#define ROOM_PEERS 8

struct room {
	uint8_t *memory;
	uint64_t size;
	int eventfds[ROOM_PEERS];
	bool gone[ROOM_PEERS]; /* what is_gone() says */
	unsigned n_rings;      /* rings of all peers of this process */
	/* What each peer wants to happen when it is gone (ivshmem_on_close()). */
	struct room_word {
		size_t n_stores, n_targets;
		struct ivshmem_store stores[2];
		struct ivshmem_target targets[ROOM_PEERS];
	} words[ROOM_PEERS];
	bool deaf;                   /* rings get lost */
	void (*on_word)(void *data); /* called once, when somebody says what is to happen */
	void *on_word_data;
};

void room_open(struct room *room, uint64_t size);
void room_close(struct room *room);

/* Open a participant as this peer; without interrupts if `peer` is -1. */
int room_try(struct room *room, struct ivshmem_participant **ret_participant, int peer,
	struct ivshmem_error *reterr);
struct ivshmem_participant *room_join(struct room *room, int peer);

/* What happens when the process of this peer dies, and its kernel has our driver. */
void room_die(struct room *room, int peer);

/* A channel between two participants: `here` connected, `there` accepted. */
void room_connect(struct ivshmem_participant *here, struct ivshmem_participant *there,
	enum ivshmem_channel_kind kind, uint64_t ring_size, struct ivshmem_channel **ret_here,
	struct ivshmem_channel **ret_there);

#endif
