/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_WORDS_H
#define GUEST_WORDS_H

/*
 * The doorbell words that a device may have in addition to its doorbell register (ivshmem/abi.h).
 * Config space, which we do not trust, says where they are. A ring for which there is no word goes
 * through the register, which every device has.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct words {
	uint32_t peers;    /* ids below this have words; 0: there are no words */
	unsigned shift;    /* each id has 1 << shift of them, one per vector */
	unsigned bar;      /* the BAR that begins with them */
	uint64_t bar_size; /* the least size that this BAR must have */
};

/* Find them by config space, of which the first `length` bytes are known. If anything is wrong, there
 * are no words. */
struct words words_find(const uint8_t *config, size_t length);

/* Whether there is a word that rings `vector` of `peer`. */
bool words_have(const struct words *words, uint16_t peer, unsigned vector);

/* Ring `vector` of `peer` through its word. The BAR is mapped at `area`. */
void words_ring(const struct words *words, volatile uint32_t *area, uint16_t peer, unsigned vector);

#endif
