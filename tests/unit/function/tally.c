/* SPDX-License-Identifier: BSD-2-Clause */

/* What a device counts. */

#include <function/tally.h>

#include <test.h>

#include <string.h>

static struct tally tally;

void
test_before(void)
{
	memset(&tally, 0, sizeof(tally));
}

static uint64_t
rings_of(uint16_t peer, unsigned vector)
{
	for (unsigned i = 0; i < TALLY_RINGS; i++)
		if (tally.rings[i].n > 0 && tally_peer(&tally.rings[i]) == peer &&
			tally_vector(&tally.rings[i]) == vector)
			return tally.rings[i].n;
	return 0;
}

TEST(rings_by_peer_and_vector)
{
	for (unsigned i = 0; i < 10; i++)
		tally_ring(&tally, 65535, 2047);
	tally_ring(&tally, 0, 0);
	CHECK_EQ(rings_of(65535, 2047), 10);
	CHECK_EQ(rings_of(0, 0), 1);
	CHECK_EQ(rings_of(2047, 65535), 0);
	tally_forget_peers(&tally);
	CHECK_EQ(rings_of(0, 0), 0);
}

/* However many there are: none is lost, and each place has the rings of one vector. */
TEST(more_vectors_than_places)
{
	uint64_t sum = 0;

	for (unsigned peer = 0; peer < 400; peer++)
		for (unsigned vector = 0; vector < 8; vector++)
			tally_ring(&tally, (uint16_t)peer, vector);
	for (unsigned i = 0; i < TALLY_RINGS; i++) {
		CHECK(tally.rings[i].n <= 1);
		sum += tally.rings[i].n;
	}
	CHECK(sum > TALLY_RINGS / 2);
	CHECK_EQ(sum + tally.other_rings, 400 * 8);
}

TEST(accesses)
{
	tally_access(&tally, 0, 12, true);
	tally_access(&tally, 0, 255, false);
	tally_access(&tally, 0, UINT64_MAX, false);
	tally_access(&tally, 5, 0, false);
	tally_access(&tally, 7, 0, true);
	tally_access(&tally, UINT32_MAX, 0, true);
	CHECK_EQ(tally.registers[3][1], 1);
	CHECK_EQ(tally.registers[4][0], 2);
	CHECK_EQ(tally.bars[0][0], 2);
	CHECK_EQ(tally.bars[5][0], 1);
	CHECK_EQ(tally.config[1], 2);
}
