/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODEL_DEVICE_NAIVE_H
#define MODEL_DEVICE_NAIVE_H

/*
 * The device once more, from the specification and docs/device.md, in the plainest way: no effects,
 * only what is true. After every step the test asks it what should be in force and compares that
 * with what the real model made its host do. It knows nothing of src/device.
 */

#include <stdbool.h>
#include <stdint.h>

#define NAIVE_VECTORS 300
#define NAIVE_EVENTS  4096

/* What a guest can change and a saved state holds. */
struct naive_state {
	uint32_t written[64]; /* config space: whatever was written, masks apply on reading */
	uint32_t mask, status;
	uint32_t table[NAIVE_VECTORS][4];
	bool owed[NAIVE_VECTORS]; /* was rung, and the guest did not get it */
};

struct naive {
	unsigned revision, vectors;
	bool server, msi, host_msix, legacy, words;
	uint64_t memory_size;

	int32_t id;
	bool has_memory;
	uint8_t *memory;
	/* who announced a vector, in the order of arrival */
	uint16_t announced[NAIVE_EVENTS];
	unsigned n_announced;

	bool host_refuses; /* to send messages */
	struct naive_state state;
	unsigned sent[NAIVE_VECTORS]; /* messages since somebody looked */
};

void naive_init(struct naive *naive);
void naive_reset(struct naive *naive);

/* config space, byte by byte */
uint8_t naive_config_read(const struct naive *naive, unsigned offset);
void naive_config_write(struct naive *naive, unsigned offset, uint8_t value);

uint64_t naive_read(struct naive *naive, unsigned bar, uint64_t offset, unsigned size);
/* Returns whether somebody was rung, and who. */
bool naive_write(struct naive *naive, unsigned bar, uint64_t offset, unsigned size, uint64_t value,
	uint16_t *ret_peer, unsigned *ret_vector);

unsigned naive_vectors_of(const struct naive *naive, uint16_t peer);
int naive_announce(struct naive *naive, uint16_t peer); /* the vector, or -1 */
bool naive_leave(struct naive *naive, uint16_t peer);

/* Somebody rang our own vector. */
void naive_rung(struct naive *naive, unsigned vector);
/* To be called after anything that could let a message go. */
void naive_settle(struct naive *naive);

/* ---- what should be in force ----------------------------------------------------------------- */

uint64_t naive_bar_size(const struct naive *naive, unsigned bar);
uint64_t naive_memory_at(const struct naive *naive);   /* 0: not mapped */
uint64_t naive_doorbell_at(const struct naive *naive); /* 0: out of reach */
/* Where the word of this vector of this peer is; 0: out of reach. */
uint64_t naive_word_at(const struct naive *naive, uint16_t peer, unsigned vector);
bool naive_intx(const struct naive *naive);
bool naive_has_table(const struct naive *naive);
/* May messages of this vector be sent? */
bool naive_open(const struct naive *naive, unsigned vector);
uint64_t naive_address(const struct naive *naive, unsigned vector);
uint32_t naive_data(const struct naive *naive, unsigned vector);

#endif
