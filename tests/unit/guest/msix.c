/* SPDX-License-Identifier: BSD-2-Clause */

/* The MSI-X table of a device, found in config space and filled before Linux uses it. */

#include <guest/msix.h>

#include <test.h>

#include <string.h>

#define CONTROL 0x42
#define TABLE   0x44

static uint8_t space[256];

/* 64 entries at 2000h of BAR 1, behind another capability. */
static void
make_space(void)
{
	memset(space, 0, sizeof(space));
	space[0x06] = 0x10;
	space[0x34] = 0x50;
	space[0x50] = 0x09;
	space[0x51] = 0x40;
	space[0x40] = 0x11;
	space[CONTROL] = 63;
	space[TABLE] = 0x01;
	space[TABLE + 1] = 0x20;
}

TEST(msix_is_found)
{
	struct msix msix;

	make_space();
	msix = msix_find(space, sizeof(space));
	CHECK_EQ(msix.n, 64);
	CHECK_EQ(msix.bar, 1);
	CHECK_EQ(msix.offset, 0x2000);
	CHECK(!msix.enabled);
	space[CONTROL] = 0xff;
	space[CONTROL + 1] = 0x87;
	msix = msix_find(space, sizeof(space));
	CHECK_EQ(msix.n, 2048);
	CHECK(msix.enabled);
	/* All vectors masked is not disabled, and not enabled either. */
	space[CONTROL + 1] = 0x47;
	CHECK(!msix_find(space, sizeof(space)).enabled);
}

TEST(msix_is_not_invented)
{
	make_space();
	CHECK_EQ(msix_find(space, 0x52).n, 64);
	for (size_t length = 0; length < 0x52; length++)
		CHECK_EQ(msix_find(space, length).n, 0);
	space[TABLE] = 0x06; /* there is no such BAR */
	CHECK_EQ(msix_find(space, sizeof(space)).n, 0);
	make_space();
	space[0x06] = 0; /* no list of capabilities */
	CHECK_EQ(msix_find(space, sizeof(space)).n, 0);
	make_space();
	space[0x40] = 0x05; /* MSI, and a list that is a circle */
	space[0x41] = 0x50;
	CHECK_EQ(msix_find(space, sizeof(space)).n, 0);
	space[0x51] = 0xfe; /* beyond the end */
	CHECK_EQ(msix_find(space, sizeof(space)).n, 0);
}

TEST(entries_get_a_message)
{
	uint32_t table[5 * 4] = {0};

	for (unsigned i = 0; i < 5; i++)
		table[4 * i + 3] = 1; /* masked */
	msix_fill(table, 4);
	for (unsigned i = 0; i < 4; i++) {
		CHECK_EQ(table[4 * i], 0xfee00000);
		CHECK_EQ(table[4 * i + 1], 0);
		CHECK_EQ(table[4 * i + 2], 0);
		CHECK_EQ(table[4 * i + 3], 1);
	}
	CHECK_EQ(table[4 * 4], 0);
}

/* Those of an earlier use mean nothing any more. Masks are left alone. */
TEST(messages_of_an_earlier_use_are_replaced)
{
	static const uint32_t after[3 * 4] = {
		0xfee00000, 0, 0, 1, 0xfee00000, 0, 0, 1, 0xfee00000, 0, 0, 0};
	uint32_t table[3 * 4] = {0xfee00018, 0, 0x4021, 1, 0, 1, 0x22, 1, 0xfee01000, 0, 0x23, 0};

	msix_fill(table, 3);
	CHECK_MEM(table, after, sizeof(table));
}
