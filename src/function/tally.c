/* SPDX-License-Identifier: BSD-2-Clause */
#include <function/tally.h>

#include <string.h>

/* How far to look for a free place. */
#define PROBES 8

void
tally_ring(struct tally *tally, uint16_t peer, unsigned vector)
{
	uint32_t key = tally_key(peer, vector), place = key * UINT32_C(2654435761) >> 16;

	for (unsigned i = 0; i < PROBES; i++, place++) {
		struct tally_ring *ring = &tally->rings[place % TALLY_RINGS];

		if (ring->n == 0 || ring->key == key) {
			ring->key = key;
			ring->n++;
			return;
		}
	}
	tally->other_rings++;
}

void
tally_access(struct tally *tally, uint32_t bar, uint64_t offset, bool write)
{
	uint64_t number = offset / 4;

	if (bar >= TALLY_BARS) {
		tally->config[write]++;
		return;
	}
	tally->bars[bar][write]++;
	if (bar == 0)
		tally->registers[number < TALLY_REGISTERS ? number : TALLY_REGISTERS - 1][write]++;
}

void
tally_forget_peers(struct tally *tally)
{
	memset(tally->rings, 0, sizeof(tally->rings));
	tally->other_rings = 0;
}
