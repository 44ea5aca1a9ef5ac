/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_CHANNEL_ROOM_H
#define UNIT_CHANNEL_ROOM_H

/*
 * Shared memory, with a page before and after it that nobody can touch, and participants in this process,
 * or in processes that are forked after room_open(). Each one is a peer with an eventfd, as a server would
 * hand them out. The inside of the library is open to these tests, so that they need not wait for its
 * clock, and can write what a hostile participant would.
 */

#include <channel/channel.h>

#include <test.h>

#define ROOM_PEERS 8
#define ROOM_SIZE  (UINT64_C(1) << 20)

struct room {
	uint8_t *memory;
	uint64_t size;
	struct map map;           /* of a stage */
	int eventfds[ROOM_PEERS]; /* the interrupt of each peer */
	bool gone[ROOM_PEERS];    /* what is_gone() says */
	unsigned n_rings;         /* rings of all peers of this process */
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

/* A room of ROOM_SIZE, with two participants: peer 0 and peer 1. */
void room_open_pair(struct room *room, struct ivshmem_participant **ret_here,
	struct ivshmem_participant **ret_there);
void room_close_pair(
	struct room *room, struct ivshmem_participant *here, struct ivshmem_participant *there);

/* What happens when the process of this peer dies, and its kernel has our driver. */
void room_die(struct room *room, int peer);

/* A channel between two participants: `here` connected, `there` accepted. */
void room_connect(struct ivshmem_participant *here, struct ivshmem_participant *there,
	enum ivshmem_channel_kind kind, uint64_t ring_size, struct ivshmem_channel **ret_here,
	struct ivshmem_channel **ret_there);

/* Whether polling this descriptor finds something now. */
bool is_readable(int fd);

/* ---- one room with small areas, where listeners have one name -------------------------------- */

#define STAGE_NAME "stage"
#define STAGE_RING 1024

extern struct room stage;

/* `areas` areas of `area_size` bytes, a multiple of 4096. */
void stage_open(unsigned areas, uint64_t area_size);
void stage_close(void);

/* Take part as this peer; without interrupts if it is -1. */
int stage_try(struct ivshmem_participant **ret_participant, int peer);
struct ivshmem_participant *stage_join(int peer);

/* Look at everything now, as participants do once a second. */
int stage_check(struct ivshmem_participant *participant);

extern const struct ivshmem_channel_options stage_options; /* rings of STAGE_RING bytes */

/* Under STAGE_NAME, with these options: listen, connect to whoever listens, accept. */
struct ivshmem_channel *stage_listen(
	struct ivshmem_participant *participant, enum ivshmem_channel_kind kind);
struct ivshmem_channel *stage_connect(
	struct ivshmem_participant *participant, enum ivshmem_channel_kind kind);
struct ivshmem_channel *stage_accept(struct ivshmem_channel *listener);

/* What `participant` has in its area. */
unsigned stage_entries(const struct ivshmem_participant *participant);

/* A record of any length, whose bytes tell which one it is; whether these bytes are it. */
void stage_fill(uint8_t *record, uint32_t length, unsigned number);
bool stage_is_filled(const uint8_t *record, uint32_t length, unsigned number);

/* Both of them still work: a new channel between them carries records both ways, and ends well. */
void stage_prove(struct ivshmem_participant *a, struct ivshmem_participant *b);

#endif
