/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_CHANNEL_STAGE_H
#define UNIT_CHANNEL_STAGE_H

/*
 * Memory, with a page before and after it that nobody can touch, and participants that ring each
 * other with eventfds. They are in one process, or in several that were forked after stage_open().
 * The inside of the library is open to these tests, so that they need not wait for its clock, and can
 * write what a hostile participant would.
 */

#include <channel/channel.h>

#include <test.h>

#define STAGE_PEERS 8

struct stage {
	uint8_t *memory;
	uint64_t size;
	struct map map;
	int rung[STAGE_PEERS]; /* the interrupt of each peer */
};

/* One stage at a time. */
extern struct stage stage;

/* `areas` areas of `area_size` bytes, a multiple of 4096. */
void stage_open(unsigned areas, uint64_t area_size);
void stage_close(void);

/* Take part as this peer; without interrupts if it is -1. */
int stage_try(struct ivshmem_participant **ret_participant, int peer);
struct ivshmem_participant *stage_join(int peer);

/* Look at everything now, as participants do once a second. */
int stage_check(struct ivshmem_participant *participant);

/* `from` connects to `to`, which listens and accepts. */
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
