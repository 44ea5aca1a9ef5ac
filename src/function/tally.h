/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUNCTION_TALLY_H
#define FUNCTION_TALLY_H

/*
 * What has passed through this process since it began: accesses, doorbells, interrupts. What a VMM has
 * given to KVM (ioeventfds, irqfds, the mapped memory) does not pass through it, and is not counted.
 *
 * Plain numbers, which the thread that does the work adds to, under the lock that it holds anyway.
 */

#include <stdbool.h>
#include <stdint.h>

#define TALLY_BARS      6
#define TALLY_REGISTERS 5 /* the four of BAR0, and all else there */
#define TALLY_RINGS     1024

struct tally_ring {
	uint32_t key; /* peer and vector */
	uint64_t n;   /* 0: free */
};

struct tally {
	uint64_t config[2], bars[TALLY_BARS][2], registers[TALLY_REGISTERS][2]; /* reads, writes */
	uint64_t sent;     /* interrupts: messages */
	uint64_t deferred; /* messages that could not be sent yet */
	uint64_t raised;   /* times that INTx went high */
	uint64_t dma_maps, dma_unmaps;
	uint64_t io_fds; /* eventfds that VMMs got, to ring peers without us */

	/* Doorbells of the guest: a hash table, because there may be a great many vectors. */
	struct tally_ring rings[TALLY_RINGS];
	uint64_t other_rings; /* of vectors for which it had no room */
};

static inline uint32_t
tally_key(uint16_t peer, unsigned vector)
{
	return (uint32_t)peer << 16 | (vector & 0xffff);
}

static inline uint16_t
tally_peer(const struct tally_ring *ring)
{
	return (uint16_t)(ring->key >> 16);
}

static inline unsigned
tally_vector(const struct tally_ring *ring)
{
	return ring->key & 0xffff;
}

/* A doorbell of the guest. */
void tally_ring(struct tally *tally, uint16_t peer, unsigned vector);

/* An access to a BAR, or to config space if `bar` is TALLY_BARS or more. */
void tally_access(struct tally *tally, uint32_t bar, uint64_t offset, bool write);

/* The peers are others from now on. */
void tally_forget_peers(struct tally *tally);

#endif
