/* SPDX-License-Identifier: BSD-2-Clause */

/* The guest rings, by the register or by the words of BAR4: through ioeventfds, or through this process. */

#include "kvm_group.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

/* Two vectors each, so a peer has 8 bytes there. */
#define AT_BAR4  UINT32_C(0xd0100000)
#define PER_PEER 8u

static const struct way {
	const char *name;
	bool words;
	unsigned bar; /* where config space has its address */
	uint32_t at, elsewhere;
	unsigned ioeventfds; /* for two vectors of two peers; who has words has the register, too */
} ways[] =
	{
		{"register", false, 0x10, AT_BAR0, AT_BAR0 + 0x8000, 4},
		{"words", true, 0x20, AT_BAR4, AT_BAR4 + 0x100000, 8},
},
  *way;

#define FOR_BOTH_WAYS for (way = ways; way < ways + 2; way++)

static void
prepare(void)
{
	fprintf(stderr, "by the %s\n", way->name);
	scene_prepare(1, 2);
	device.config.doorbell_bar = way->words;
}

static void
begin(void)
{
	scene_begin();
	config_put(0x20, 4, AT_BAR4);
}

static void
open_way(void)
{
	prepare();
	begin();
}

static uint32_t
address_of(const struct way *by, uint32_t base, unsigned peer, unsigned vector)
{
	return by->words ? base + peer * PER_PEER + vector * 4 : base + IVSHMEM_REG_DOORBELL;
}

static void
store(const struct way *by, uint32_t base, unsigned peer, unsigned vector)
{
	guest_store(address_of(by, base, peer, vector),
		by->words ? 1 : ivshmem_doorbell_value((uint16_t)peer, (uint16_t)vector));
}

/* The guest rings the client, which hears it; returns whether KVM handed the access out. */
static bool
ring_by(const struct way *by, uint32_t base, unsigned vector)
{
	unsigned exits = device.machine.exits;

	store(by, base, 1, vector);
	client_hears(vector);
	return device.machine.exits > exits;
}

static bool
ring_at(uint32_t base, unsigned vector)
{
	return ring_by(way, base, vector);
}

static bool
ring_register(unsigned vector)
{
	return ring_by(&ways[0], AT_BAR0, vector);
}

TEST(a_ring_needs_nobody)
{
	FOR_BOTH_WAYS
	{
		open_way();
		CHECK_EQ(status().ioeventfds, way->ioeventfds);
		CHECK(!ring_at(way->at, 0));
		CHECK(!ring_at(way->at, 1));
		CHECK(!ring_register(1));
		CHECK_EQ(status().rings, 0);
		CHECK_EQ(device.warnings, 0);
	}
}

TEST(nobody_is_rung_by_other_values_and_addresses)
{
	static const uint32_t stores[][2] = {{AT_BAR0 + 12, 0x10002}, {AT_BAR0 + 12, 0x1ffff},
		{AT_BAR0 + 12, 0x20000}, {AT_BAR0 + 12, 0xffffffff}, {AT_BAR0 + 16, 0x10000},
		{AT_BAR0 + 8, 0x10000}, {AT_BAR4 + 2 * PER_PEER, 1}, {AT_BAR4 + 1000 * PER_PEER, 1},
		{AT_BAR4 + 65535 * PER_PEER + 4, 1}};

	way = &ways[1];
	open_way();
	for (unsigned i = 0; i < 9; i++)
		guest_store(stores[i][0], stores[i][1]);
	CHECK_EQ(guest_load(AT_BAR4 + PER_PEER), 0);
	CHECK_EQ(guest_load(AT_BAR4 + 65535 * PER_PEER + 4), 0);
	CHECK_EQ(device.machine.exits, 11);
	CHECK_EQ(status().rings, 0);
	/* The client heard the one after them, and none of them. */
	CHECK(!ring_at(AT_BAR4, 0));
	CHECK(!ring_register(0));
	CHECK_EQ(ivshmem_pending(client, 1), 0);
}

TEST(the_doorbell_follows_the_bar)
{
	FOR_BOTH_WAYS
	{
		open_way();
		config_put(way->bar, 4, way->elsewhere);
		CHECK_EQ(status().ioeventfds, way->ioeventfds);
		CHECK(!ring_at(way->elsewhere, 0));
		store(way, way->at, 1, 0);
		CHECK_EQ(device.machine.exits, 1);
		command(COMMAND_MASTER);
		CHECK_EQ(status().ioeventfds, 0);
		store(way, way->elsewhere, 1, 0);
		CHECK_EQ(device.machine.exits, 2);
		config_put(way->bar, 4, way->at);
		command(COMMAND_DECODE);
		CHECK_EQ(status().ioeventfds, way->ioeventfds);
		/* Neither of the two that went nowhere is heard now. */
		CHECK(!ring_at(way->at, 0));
		CHECK_EQ(status().rings, 0);
		CHECK_EQ(device.warnings, 0);
	}
}

/* While BAR4 is being sized, the register goes on. */
TEST(sized_words)
{
	way = &ways[1];
	open_way();
	config_put(0x20, 4, 0xffffffff);
	config_put(0x24, 4, 0xffffffff);
	CHECK_EQ(status().ioeventfds, 4);
	CHECK(!ring_register(0));
	config_put(0x20, 4, AT_BAR4);
	config_put(0x24, 4, 0);
	CHECK_EQ(status().ioeventfds, 8);
	CHECK(!ring_at(AT_BAR4, 0));
}

TEST(peers_come_and_go)
{
	FOR_BOTH_WAYS
	{
		struct ivshmem_client *second;
		uint16_t id;

		open_way();
		second = group_join(&group);
		id = ivshmem_id(second);
		DEVICE_UNTIL(status().ioeventfds == way->ioeventfds / 2 * 3);
		store(way, way->at, id, 1);
		CHECK_EQ(ivshmem_wait(second, 1, 20000), 0);
		CHECK_EQ(device.machine.exits, 0);

		second = ivshmem_detach(second);
		DEVICE_UNTIL(status().ioeventfds == way->ioeventfds);
		CHECK_EQ(ivshmem_kvm_peer_vectors(device.kvm, id), 0);
		store(way, way->at, id, 1);
		CHECK_EQ(device.machine.exits, 1);
		CHECK(!ring_at(way->at, 0));
		CHECK_EQ(device.warnings, 0);
	}
}

TEST(ioeventfd_off)
{
	FOR_BOTH_WAYS
	{
		prepare();
		device.config.ioeventfd = false;
		begin();
		CHECK_EQ(status().ioeventfds, 0);
		CHECK(ring_at(way->at, 1));
		CHECK_EQ(status().rings, 1);
	}
}

TEST(a_kernel_without_room_for_ioeventfds)
{
	refuse_ioctl(KVM_IOEVENTFD, ENOSPC);
	FOR_BOTH_WAYS
	{
		open_way();
		CHECK_EQ(status().ioeventfds, 0);
		CHECK(ring_at(way->at, 0));
		CHECK(ring_register(1));
		CHECK_EQ(status().rings, 2);
		/* The guest makes it ask again, and nobody is told again. */
		for (unsigned i = 0; i < 10; i++) {
			command(0);
			command(COMMAND_DECODE);
		}
		CHECK(ring_at(way->at, 0));
		check_warnings(1, "does not add an ioeventfd");
	}
}

/* Somebody has one of the doorbells already. What there was before stays, and ends in time. */
TEST(an_occupied_doorbell)
{
	FOR_BOTH_WAYS
	{
		_test_close_ int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
		struct kvm_ioeventfd taken = {
			.addr = address_of(way, way->at, 1, 1),
			.len = 4,
			.fd = fd,
			.datamatch = way->words ? 0 : ivshmem_doorbell_value(1, 1),
			.flags = way->words ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH,
		};

		prepare();
		CHECK_SYS(ioctl(device.machine.fd, KVM_IOEVENTFD, &taken));
		begin();
		CHECK_EQ(status().ioeventfds, way->ioeventfds - 1);
		CHECK_EQ(device.warnings, 1);
		CHECK(!ring_at(way->at, 0));
		taken.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
		CHECK_SYS(ioctl(device.machine.fd, KVM_IOEVENTFD, &taken));
		CHECK(ring_at(way->at, 1));
		config_put(way->bar, 4, way->elsewhere);
		CHECK_EQ(status().ioeventfds, way->ioeventfds);
		CHECK(!ring_at(way->elsewhere, 1));
		CHECK_EQ(device.warnings, 1);
	}
}

/* The device has itself among those that it can ring. */
TEST(ringing_oneself)
{
	FOR_BOTH_WAYS
	{
		open_way();
		entry_write(1, 0x45, false);
		msix(MSIX_ENABLE);
		store(way, way->at, 0, 1);
		CHECK(wait_interrupt(0x45));
		CHECK_EQ(device.machine.exits, 0);
	}
}
