/* SPDX-License-Identifier: BSD-2-Clause */

/* Saved in one VM, loaded in another one that is a peer of another server. */

#include "kvm_group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS 2
#define FORMAT  IVSHMEM_DEVICE_FORMAT_NATIVE

struct state {
	uint8_t bytes[1024];
	size_t size;
};

static void
save(struct state *state)
{
	state->size = ivshmem_kvm_state_size(device.kvm, FORMAT);
	CHECK_EQ(ivshmem_kvm_save(device.kvm, FORMAT, state->bytes, sizeof(state->bytes), NULL), 0);
}

static int
load(const struct state *state)
{
	return ivshmem_kvm_load(device.kvm, FORMAT, state->bytes, state->size, NULL);
}

static void
open_master(enum ivshmem_device_master master)
{
	scene_prepare(1, VECTORS);
	device.config.master = master;
	device_attach();
}

TEST(msix_and_memory)
{
	struct state state;
	void *memory = malloc(GROUP_MEMORY);

	CHECK(memory);
	open_master(IVSHMEM_DEVICE_MASTER_ON);
	device_place();
	entry_write(0, 0x41, false);
	entry_write(1, 0x42, true);
	msix(MSIX_ENABLE);
	guest_store(AT_BAR2 + 40, 4711);
	/* A ring that nobody has looked at. */
	guest_store(AT_BAR0 + 12, ivshmem_doorbell_value(0, 1));
	save(&state);
	memcpy(memory, ivshmem_kvm_memory(device.kvm), GROUP_MEMORY);

	open_master(IVSHMEM_DEVICE_MASTER_ON);
	memcpy(ivshmem_kvm_memory(device.kvm), memory, GROUP_MEMORY);
	CHECK_EQ(load(&state), 0);
	CHECK(status().memory_mapped);
	CHECK_EQ(status().irqfds, 1);
	CHECK_EQ(status().ioeventfds, VECTORS);
	CHECK_EQ(guest_load(AT_BAR2 + 40), 4711);
	CHECK_EQ(device.machine.exits, 0);
	CHECK(is_pending(1));
	entry_mask(1, false);
	CHECK(wait_interrupt(0x42));
	CHECK(!interrupted(0x41));
	client = group_join(&group);
	client_expects(VECTORS);
	client_rings(0);
	CHECK(wait_interrupt(0x41));
	CHECK(!interrupted(0x42));
	free(memory);
}

static void
open_intx(void)
{
	scene_prepare(0, 1);
	device.config.msi = false;
	device.kvm_config.intx_gsi = 11;
	machine_wire_pin(&device.machine, 11, 0x61);
	device_attach();
}

/* The level is part of the state; loading replaces what was there, the line included. */
TEST(intx)
{
	struct state low, high;

	open_intx();
	device_place();
	save(&low);
	guest_store(AT_BAR0 + IVSHMEM_REG_INTR_MASK, 1);
	guest_store(AT_BAR0 + IVSHMEM_REG_INTR_STATUS, 1);
	save(&high);

	open_intx();
	CHECK_EQ(load(&high), 0);
	CHECK(wait_interrupt(0x61));
	/* The line is up, and not only was. */
	machine_wire_pin(&device.machine, 11, 0x63);
	CHECK(wait_interrupt(0x63));
	CHECK_EQ(load(&low), 0);
	machine_wire_pin(&device.machine, 11, 0x62);
	CHECK(!interrupted(0x62));
	CHECK_EQ(load(&high), 0);
	CHECK(wait_interrupt(0x62));
}

TEST(only_the_master)
{
	struct ivshmem_error error = {0};
	uint8_t state[4096] = {0};

	open_master(IVSHMEM_DEVICE_MASTER_OFF);
	CHECK(!ivshmem_kvm_is_master(device.kvm));
	CHECK_EQ(ivshmem_kvm_save(device.kvm, FORMAT, state, sizeof(state), &error), -EPERM);
	CHECK_EQ(error.code, -EPERM);
	CHECK_EQ(ivshmem_kvm_load(device.kvm, FORMAT, state, sizeof(state), &error), -EPERM);
}

TEST(garbage_changes_nothing)
{
	struct ivshmem_error error = {0};
	struct state state;

	open_master(IVSHMEM_DEVICE_MASTER_AUTO);
	CHECK(ivshmem_kvm_is_master(device.kvm));
	save(&state);
	device_place();
	state.bytes[0] ^= 1;
	CHECK_EQ(ivshmem_kvm_load(device.kvm, FORMAT, state.bytes, state.size, &error), -EINVAL);
	CHECK(error.message[0] != '\0');
	CHECK(status().memory_mapped);
	CHECK_EQ(status().ioeventfds, VECTORS);
	state.bytes[0] ^= 1;
	CHECK_EQ(load(&state), 0);
	CHECK(!status().memory_mapped);
	CHECK_EQ(status().ioeventfds, 0);
}
