/* SPDX-License-Identifier: BSD-2-Clause */

/* Doorbell words, found in config space by a library that does not trust it. */

#include <guest/words.h>

#include <ivshmem/abi.h>
#include <test.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t space[256];

static void
put_dword(unsigned offset, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		space[offset + i] = (uint8_t)(value >> 8 * i);
}

/* A capability of the device, at `offset`. */
static void
put_capability(unsigned offset, uint8_t next, uint8_t shift)
{
	space[offset] = 0x09;
	space[offset + 1] = next;
	space[offset + 2] = 16;
	space[offset + 3] = 1;
	space[offset + 4] = 4;
	space[offset + 5] = shift;
	put_dword(offset + 8, 65536);
	put_dword(offset + 12, 0x42445649);
}

/* As the device has it: behind MSI-X. */
static void
make_space(uint8_t shift)
{
	memset(space, 0, sizeof(space));
	space[0x06] = 0x10;
	space[0x34] = 0x40;
	space[0x40] = 0x11;
	space[0x41] = 0x4c;
	put_capability(0x4c, 0, shift);
}

static void
check_none(void)
{
	CHECK_EQ(words_find(space, sizeof(space)).peers, 0);
}

TEST(found)
{
	for (uint8_t shift = 0; shift <= 11; shift++) {
		struct words words;

		make_space(shift);
		words = words_find(space, sizeof(space));
		CHECK_EQ(words.peers, 65536);
		CHECK_EQ(words.shift, shift);
		CHECK_EQ(words.bar, 4);
		CHECK_EQ(words.bar_size, (UINT64_C(256) << 10) << shift);
		CHECK(words_have(&words, 0, 0));
		CHECK(words_have(&words, 65535, (1u << shift) - 1));
		CHECK(!words_have(&words, 0, 1u << shift));
		CHECK(!words_have(&words, 65535, 65535));
	}
}

TEST(fewer_peers)
{
	struct words words;

	make_space(1);
	put_dword(0x54, 100);
	words = words_find(space, sizeof(space));
	CHECK_EQ(words.bar_size, 800);
	CHECK(words_have(&words, 99, 1));
	CHECK(!words_have(&words, 100, 0));
	CHECK(!words_have(&words, 65535, 0));
}

TEST(a_longer_capability)
{
	make_space(1);
	space[0x4e] = 20;
	CHECK_EQ(words_find(space, sizeof(space)).peers, 65536);
}

/* Whatever other vendor-specific capabilities there are. */
TEST(not_the_first_of_its_kind)
{
	make_space(1);
	put_capability(0x60, 0, 3);
	space[0x4d] = 0x60;
	space[0x4f] = 2;
	CHECK_EQ(words_find(space, sizeof(space)).shift, 3);
	space[0x4f] = 1;
	CHECK_EQ(words_find(space, sizeof(space)).shift, 1);
}

TEST(none)
{
	static const struct {
		const char *name;
		uint8_t offset, value;
	} changes[] = {
		{"no list of capabilities", 0x06, 0},
		{"an empty list", 0x34, 0},
		{"MSI-X alone", 0x41, 0},
		{"another capability", 0x4c, 0x11},
		{"too short", 0x4e, 15},
		{"another version", 0x4f, 2},
		{"too many vectors", 0x51, 12},
		{"very many vectors", 0x51, 255},
		{"another mark", 0x58, 0x48},
		{"one peer too many", 0x54, 1},
		{"no peers", 0x56, 0},
	};

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		fprintf(stderr, "%s\n", changes[i].name);
		make_space(1);
		space[changes[i].offset] = changes[i].value;
		check_none();
	}
	/* The header is no place for capabilities, whatever a BAR looks like. */
	make_space(1);
	put_capability(0x10, 0, 1);
	space[0x41] = 0x10;
	check_none();
}

/* The BARs that mean something else, and those that there are not. */
TEST(only_in_some_bars)
{
	for (unsigned bar = 0; bar < 256; bar++) {
		struct words words;

		make_space(1);
		space[0x50] = (uint8_t)bar;
		words = words_find(space, sizeof(space));
		CHECK_EQ(words.peers, bar >= 3 && bar <= 5 ? 65536 : 0);
		CHECK(words.peers || !words_have(&words, 0, 0));
	}
}

/* What an unprivileged process sees, and everything in between. */
TEST(part_of_config_space)
{
	make_space(1);
	for (size_t length = 0; length <= sizeof(space); length++) {
		/* On the heap, so that a sanitizer sees a step too far. */
		uint8_t *part = malloc(length + !length);

		memcpy(part, space, length);
		CHECK_EQ(words_find(part, length).peers, length >= 0x5c ? 65536 : 0);
		free(part);
	}
}

TEST(a_list_without_end)
{
	make_space(1);
	space[0x4c] = 0x05;
	space[0x4d] = 0x40;
	check_none();
	space[0x4d] = 0x4c;
	check_none();
	/* at the end, and in the header */
	for (unsigned next = 0; next < 256; next++) {
		make_space(1);
		space[0x41] = (uint8_t)next;
		CHECK_EQ(words_find(space, sizeof(space)).peers,
			next >= 0x4c && next <= 0x4f ? 65536 : 0);
	}
}

/* Any bytes at all are survived, and make sense if they are taken. */
TEST(any_bytes)
{
	uint64_t state = 1;

	for (unsigned round = 0; round < 200000; round++) {
		unsigned n = round % 12;
		struct words words;

		make_space((uint8_t)(round % 13));
		while (n-- > 0) {
			state = state * UINT64_C(6364136223846793005) +
				UINT64_C(1442695040888963407);
			space[state >> 33 & 0x7f] = (uint8_t)(state >> 40);
		}
		words = words_find(space, sizeof(space));
		if (words.peers == 0)
			continue;
		CHECK(words.peers <= 65536 && words.shift <= 11);
		CHECK(words.bar >= 3 && words.bar <= 5);
		CHECK_EQ(words.bar_size, ((uint64_t)words.peers << words.shift) * 4);
	}
}
