/* SPDX-License-Identifier: BSD-2-Clause */

/* doorbell_bar: the words of BAR4, the capability that announces them, and their triggers. */

#include <device_host.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BAR  4
#define WORD 0x20 /* BAR4 in config space */

static void
words_config(unsigned vectors, bool triggers)
{
	host_config(1, true, vectors);
	host.config.id = 2;
	host.config.ioeventfd = triggers;
	host.config.doorbell_bar = true;
	host.ops.attach_irqfd = NULL;
}

static void
open_words(unsigned vectors, bool triggers)
{
	words_config(vectors, triggers);
	host_open();
}

static void
place(uint64_t address)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(address >> 8 * i);
	ivshmem_device_config_write(host.device, WORD, bytes, 8);
}

static void
word_put(uint64_t offset, unsigned size, uint64_t value)
{
	bar_write(BAR, offset, size, value);
}

/* ---- config space ---------------------------------------------------------------------------- */

static const struct {
	unsigned vectors, shift;
	uint64_t size;
} shapes[] = {
	{1, 0, 256 << 10},
	{2, 1, 512 << 10},
	{3, 2, 1 << 20},
	{4, 2, 1 << 20},
	{5, 3, 2 << 20},
	{1000, 10, 256 << 20},
	{1024, 10, 256 << 20},
	{1025, 11, 512 << 20},
	{2048, 11, 512 << 20},
};

#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

TEST(capability)
{
	for (size_t i = 0; i < N_SHAPES; i++) {
		open_words(shapes[i].vectors, false);
		CHECK_EQ(config_get(0x06, 2), 0x0010);
		CHECK_EQ(config_get(0x34, 1), 0x40);
		CHECK_EQ(config_get(0x40, 4), 0x4c11 | (shapes[i].vectors - 1) << 16);
		/* last one, 16 bytes, type 1; BAR4, shift; 65536 peers; "IVDB" */
		CHECK_EQ(config_get(0x4c, 4), 0x01100009);
		CHECK_EQ(config_get(0x50, 4), 4 | shapes[i].shift << 8);
		CHECK_EQ(config_get(0x54, 4), 65536);
		CHECK_EQ(config_get(0x58, 4), 0x42445649);
		CHECK_EQ(config_get(0x5c, 4), 0);
		CHECK_EQ(ivshmem_device_doorbell_shift(host.device), shapes[i].shift);
	}
}

TEST(bar4_sizing)
{
	for (size_t i = 0; i < N_SHAPES; i++) {
		uint64_t size = shapes[i].size;

		open_words(shapes[i].vectors, false);
		CHECK_EQ(ivshmem_device_bar_size(host.device, BAR), size);
		CHECK_EQ(ivshmem_device_bar_size(host.device, 5), 0);
		CHECK_EQ(config_get(WORD, 4), 0xc); /* 64 bits, prefetchable */
		config_put(WORD, 4, 0xffffffff);
		config_put(WORD + 4, 4, 0xffffffff);
		CHECK_EQ(config_get(WORD, 4), (uint32_t) ~(size - 1) | 0xc);
		CHECK_EQ(config_get(WORD + 4, 4), 0xffffffff);
		CHECK_EQ(ivshmem_device_bar_address(host.device, BAR), 0);
		place(0xfd00000000 + size);
		CHECK_EQ(ivshmem_device_bar_address(host.device, BAR), 0);
		config_put(0x04, 2, COMMAND_ON);
		CHECK_EQ(ivshmem_device_bar_address(host.device, BAR), 0xfd00000000 + size);
	}
}

TEST(who_can_have_it)
{
	host_config(0, true, 1);
	host.config.doorbell_bar = true;
	host_refused("revision 0 has no doorbell-bar");
	/* A plain device has nothing to do with what its configuration says about peers. */
	for (unsigned revision = 0; revision <= 1; revision++) {
		host_config(revision, false, 1);
		host.config.doorbell_bar = true;
		host_open();
		CHECK_EQ(ivshmem_device_bar_size(host.device, BAR), 0);
		CHECK_EQ(config_get(0x34, 1), 0);
		CHECK_EQ(config_get(0x4c, 4), 0);
	}
}

/* ---- ringing --------------------------------------------------------------------------------- */

TEST(a_word_rings)
{
	open_words(3, false);
	connect_peer(2, 3);
	connect_peer(7, 2);
	connect_peer(65535, 3);
	/* whatever the value is */
	CAUSES(word_put(7 * 16, 4, 0), "ring 7.0");
	CAUSES(word_put(7 * 16 + 4, 4, 0xffffffff), "ring 7.1");
	CAUSES(word_put(2 * 16 + 8, 4, 0x00020001), "ring 2.2");
	CAUSES(word_put(65535 * 16 + 8, 4, 0x80000000), "ring 65535.2");
	/* a vector that the peer has not, that nobody has, a peer that is not there */
	word_put(7 * 16 + 8, 4, 1);
	word_put(2 * 16 + 12, 4, 1);
	word_put(65535 * 16 + 12, 4, 1);
	word_put(8 * 16, 4, 1);
	CAUSES(word_put(0, 4, 1), "");
	/* The register goes on to work. */
	CAUSES(reg_put(IVSHMEM_REG_DOORBELL, 0x00070001), "ring 7.1");
	remove_peer(7);
	CAUSES(word_put(7 * 16, 4, 1), "");
}

TEST(only_aligned_words_act)
{
	static const unsigned sizes[] = {1, 2, 4, 8};

	open_words(4, false);
	for (uint16_t peer = 0; peer < 4; peer++)
		connect_peer(peer, 4);
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned offset = 0; offset < 24; offset++) {
			char expected[32] = "";

			if (sizes[i] == 4 && offset % 4 == 0)
				snprintf(expected, sizeof(expected), "ring %u.%u", offset / 16,
					offset / 4 % 4);
			CAUSES(word_put(offset, sizes[i], 1), expected);
			CAUSES(CHECK_EQ(bar_read(BAR, offset, sizes[i]), 0), "");
		}
	}
}

/* The register folds vectors to 8 bits; the words have no reason to. */
TEST(legacy_doorbell_is_the_registers)
{
	words_config(300, true);
	host.config.legacy_doorbell = true;
	host_open();
	connect_peer(7, 300);
	CAUSES(word_put((7 * 512 + 256) * 4, 4, 1), "ring 7.256");
	config_put(0x10, 4, 0xfebf1000);
	config_put(0x04, 2, COMMAND_ON);
	CHECK_EQ(in_force.n_ioeventfds, 256);
	place(0xf0000000);
	CHECK_EQ(in_force.n_ioeventfds, 256 + 300);
}

/* ---- triggers -------------------------------------------------------------------------------- */

TEST(a_trigger_for_each_word)
{
	open_words(2, true);
	connect_peer(2, 2);
	CAUSES(place(0xf00000000), "");
	CAUSES(config_put(0x04, 2, COMMAND_ON), "+io f00000010; +io f00000014");
	CAUSES(connect_peer(7, 1), "+io f00000038");
	/* and those of the register besides */
	CAUSES(config_put(0x10, 4, 0xfebf1000),
		"+io febf100c=20000; +io febf100c=20001; +io febf100c=70000");
	CAUSES(connect_peer(7, 1), "+io f0000003c; +io febf100c=70001");
	CAUSES(remove_peer(7), "-io f0000003c; -io f00000038; "
			       "-io febf100c=70001; -io febf100c=70000");
	host_close();
	CHECK_EQ(in_force.n_ioeventfds, 0);
}

/* The model moves it to many places. */
TEST(moving_one_does_not_touch_the_other)
{
	open_words(1, true);
	connect_peer(7, 1);
	config_put(0x04, 2, COMMAND_ON);
	config_put(0x10, 4, 0xfebf1000);
	place(0xf0000000);
	host_effects();
	CAUSES(place(0xf1000000), "-io f000001c; +io f100001c");
	/* in halves, as 32-bit guests do */
	CAUSES(config_put(WORD + 4, 4, 0x12), "-io f100001c; +io 12f100001c");
	CAUSES(config_put(0x10, 4, 0xfebf2000), "-io febf100c=70000; +io febf200c=70000");
}

TEST(no_triggers_wanted)
{
	open_words(1, false);
	connect_peer(7, 1);
	place(0xf0000000);
	config_put(0x10, 4, 0xfebf1000);
	CAUSES(config_put(0x04, 2, COMMAND_ON), "");
}

/* What room there is goes to the peers in their order, and with each to its words first; it is used
 * when some gets free. */
TEST(no_room_for_all)
{
	open_words(2, true);
	host.trigger_room = 3;
	connect_peer(2, 2);
	connect_peer(7, 2);
	place(0xf0000000);
	config_put(0x10, 4, 0xfebf1000);
	config_put(0x04, 2, COMMAND_ON);
	/* The register has been refused one, and the words then one, too. */
	CHECK_STR(host_effects(), "+io f0000010; +io f0000014; +io febf100c=20000; "
				  "+io febf100c=20001; warn; +io f0000038");
	CHECK_HAS(host.warning, "vector 1 of peer 2");
	/* Nobody is asked in vain. */
	CAUSES(connect_peer(8, 1), "");
	/* The words are gone: their room is for the register. */
	CAUSES(place(0), "-io f0000014; -io f0000010; +io febf100c=20001; "
			 "+io febf100c=70000; +io febf100c=70001");
	/* Rings without trigger arrive all the same. */
	CAUSES(word_put(7 * 8, 4, 1), "ring 7.0");
	CAUSES(reg_put(IVSHMEM_REG_DOORBELL, 0x00080000), "ring 8.0");
	CAUSES(remove_peer(7), "-io febf100c=70000; +io febf100c=80000");
}

/* Checklist 65, and 89: all ids have a doorbell, and a word. */
TEST(all_peers)
{
	open_words(1, false);
	for (unsigned id = 0; id <= 65535; id++)
		CHECK_EQ(ivshmem_device_add_vector(host.device, (uint16_t)id), 0);
	for (unsigned id = 0; id <= 65535; id += 255) {
		char expected[32];

		snprintf(expected, sizeof(expected), "ring %u.0", id);
		CAUSES(word_put(4 * id, 4, 0), expected);
		CAUSES(reg_put(IVSHMEM_REG_DOORBELL, id << 16), expected);
	}
}

/* ---- save and load --------------------------------------------------------------------------- */

static void
open_words_master(bool words)
{
	words_config(3, true);
	host.config.id = 0;
	host.config.master = IVSHMEM_DEVICE_MASTER_ON;
	host.config.doorbell_bar = words;
	host_open();
	connect_peer(0, 3);
}

TEST(state)
{
	uint8_t plain[HEADER];
	size_t size;

	open_words_master(false);
	save(NATIVE);
	size = saved_size;
	memcpy(plain, saved, HEADER);
	open_words_master(true);
	load_refused(NATIVE, size, -EINVAL, "doorbell-bar");

	config_put(0x04, 2, COMMAND_ON);
	place(0xabc0000000);
	host_effects();
	CAUSES(save(NATIVE), "");
	CHECK_EQ(saved_size, size);
	/* The word of the kind is the only one of the header that differs. */
	for (unsigned i = 0; i < HEADER; i++)
		CHECK_EQ(saved[i], i == 23 ? plain[i] | 4 : plain[i]);

	open_words_master(true);
	CAUSES(load(NATIVE), "+io abc0000000; +io abc0000004; +io abc0000008");
	CHECK_EQ(ivshmem_device_bar_address(host.device, BAR), 0xabc0000000);
	/* A capability of another shape. */
	saved[HEADER + 0x51] ^= 1;
	load_refused(NATIVE, size, -EINVAL, "config space");
	saved[HEADER + 0x51] ^= 1;
	open_words_master(false);
	load_refused(NATIVE, size, -EINVAL, "doorbell-bar");
}
