/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * DPDK's rte_ring, one producer and one consumer, elements of the record's length in bursts.
 *
 *	ring	elements are copied into the ring and out of it, 32 at a time
 */
#include "sides.h"

#include <rte_ring.h>
#include <rte_ring_elem.h>

#include <stdlib.h>

#define BURST    32u
#define ELEMENTS 4096u /* of 64 bytes: as large as the default ring of a channel */

static unsigned char *
buffer_new(const struct sides *sides)
{
	unsigned char *buffer = calloc(BURST, sides->length);

	if (!buffer)
		sides_die("calloc", ENOMEM);
	return buffer;
}

static struct rte_ring *
ring_of(const struct sides *sides)
{
	return sides->memory;
}

static void
send_ring(struct sides *sides)
{
	unsigned char *buffer = buffer_new(sides);

	sides_begin(sides);
	for (uint64_t left = sides->count; left > 0;) {
		unsigned n = rte_ring_sp_enqueue_burst_elem(ring_of(sides), buffer,
			(unsigned)sides->length, left < BURST ? (unsigned)left : BURST, NULL);

		if (n == 0)
			sides_relax();
		left -= n;
	}
	free(buffer);
}

static void
receive_ring(struct sides *sides)
{
	unsigned char *buffer = buffer_new(sides);

	if (rte_ring_get_memsize_elem((unsigned)sides->length, ELEMENTS) > (ssize_t)SIDES_MEMORY ||
		rte_ring_init(ring_of(sides), "bench", ELEMENTS, RING_F_SP_ENQ | RING_F_SC_DEQ) < 0)
		sides_die("rte_ring_init", EINVAL);
	sides_begin(sides);
	for (uint64_t left = sides->count; left > 0;) {
		unsigned n = rte_ring_sc_dequeue_burst_elem(
			ring_of(sides), buffer, (unsigned)sides->length, BURST, NULL);

		if (n == 0)
			sides_relax();
		left -= n;
	}
	sides_end(sides);
	free(buffer);
}

int
main(int argc, char **argv)
{
	static const struct sides_case cases[] = {{"ring", send_ring, receive_ring}};

	return sides_main(argc, argv, cases, 1);
}
