/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_WORDS_H
#define GUEST_WORDS_H

/*
 * The doorbell words that a device may have besides its doorbell register (ivshmem/abi.h): where
 * they are, according to its config space, which is not trusted. A ring that has no word takes the
 * register, which every device has.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct words {
	uint32_t peers;    /* there are words for ids below this; 0: there are no words */
	unsigned shift;    /* 1 << shift of them for each */
	unsigned bar;      /* where they are, from its start on */
	uint64_t bar_size; /* that it must at least have */
};

/* Look for them in config space, of which the first `length` bytes are known. No words if there is
 * anything wrong. */
struct words words_find(const uint8_t *config, size_t length);

/* Is there a word that interrupts `peer` on `vector`? */
bool words_have(const struct words *words, uint16_t peer, unsigned vector);

/* Write the word that interrupts `peer` on `vector`; `area` is where the BAR is mapped. */
void words_ring(const struct words *words, volatile uint32_t *area, uint16_t peer, unsigned vector);

#endif
