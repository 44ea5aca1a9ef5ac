/* SPDX-License-Identifier: BSD-2-Clause */

/* Saved in one VM, loaded in another one that is a peer of another server. */

#include "kvm_group.h"

#include <ivshmem/abi.h>
#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VECTORS 2

static void *
save(struct device *device, size_t *ret_size)
{
	size_t size = ivshmem_kvm_state_size(device->kvm, IVSHMEM_DEVICE_FORMAT_NATIVE);
	void *state = malloc(size);
	struct ivshmem_error error;

	CHECK(state);
	if (ivshmem_kvm_save(device->kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, size, &error) < 0)
		FAIL("%s", error.message);
	*ret_size = size;
	return state;
}

/* The server that a test's first group had is gone, and its socket's path is free. */
static void
another_group(struct group *group)
{
	group_close(group);
	CHECK_SYS(unlink(group->address.sun_path));
	group_open(group, VECTORS);
}

static void
open_master(struct device *device, struct group *group, enum ivshmem_device_master master)
{
	device_prepare(device, group, 1, VECTORS);
	device->config.master = master;
	device_attach(device);
}

TEST(msix_and_memory)
{
	struct ivshmem_client *client;
	struct device from, to;
	struct group group;
	size_t size;
	void *state, *memory = malloc(GROUP_MEMORY);

	CHECK(memory);
	group_open(&group, VECTORS);
	open_master(&from, &group, IVSHMEM_DEVICE_MASTER_ON);
	device_place(&from);
	device_entry(&from, 0, 0x41, false);
	device_entry(&from, 1, 0x42, true);
	device_msix(&from, MSIX_ENABLE);
	machine_store(&from.machine, AT_BAR2 + 40, 4711);
	/* A ring that nobody has looked at. */
	machine_store(&from.machine, AT_BAR0 + 12, ivshmem_doorbell_value(0, 1));
	state = save(&from, &size);
	memcpy(memory, ivshmem_kvm_memory(from.kvm), GROUP_MEMORY);
	device_close(&from);
	another_group(&group);

	open_master(&to, &group, IVSHMEM_DEVICE_MASTER_ON);
	memcpy(ivshmem_kvm_memory(to.kvm), memory, GROUP_MEMORY);
	CHECK_EQ(ivshmem_kvm_load(to.kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, size, NULL), 0);
	CHECK(device_status(&to).memory_mapped);
	CHECK_EQ(device_status(&to).irqfds, 1);
	CHECK_EQ(device_status(&to).ioeventfds, VECTORS);
	CHECK_EQ(machine_load(&to.machine, AT_BAR2 + 40), 4711);
	CHECK_EQ(to.machine.exits, 0);
	CHECK(device_pending(&to, 1));
	device_mask(&to, 1, false);
	CHECK(machine_wait_interrupt(&to.machine, 0x42));
	CHECK(!machine_interrupted(&to.machine, 0x41));
	client = group_join(&group);
	while (ivshmem_peer_vectors(client, 0) != VECTORS)
		CHECK(ivshmem_dispatch(client, 1000) >= 0);
	CHECK_EQ(ivshmem_ring(client, 0, 0), 0);
	CHECK(machine_wait_interrupt(&to.machine, 0x41));
	CHECK(!machine_interrupted(&to.machine, 0x42));
	client = ivshmem_detach(client);
	device_close(&to);
	group_close(&group);
	free(state);
	free(memory);
}

/* The level is part of the state; loading replaces what was there, the line included. */
TEST(intx)
{
	struct device from, to;
	struct group group;
	size_t high_size, low_size;
	void *high, *low;

	group_open(&group, 1);
	device_prepare(&from, &group, 0, 1);
	from.config.msi = false;
	from.kvm_config.intx_gsi = 11;
	device_attach(&from);
	device_place(&from);
	low = save(&from, &low_size);
	machine_store(&from.machine, AT_BAR0 + IVSHMEM_REG_INTR_MASK, 1);
	machine_store(&from.machine, AT_BAR0 + IVSHMEM_REG_INTR_STATUS, 1);
	high = save(&from, &high_size);
	device_close(&from);
	another_group(&group);

	device_prepare(&to, &group, 0, 1);
	to.config.msi = false;
	to.kvm_config.intx_gsi = 11;
	machine_wire_pin(&to.machine, 11, 0x61);
	device_attach(&to);
	CHECK_EQ(ivshmem_kvm_load(to.kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, high, high_size, NULL), 0);
	CHECK(machine_wait_interrupt(&to.machine, 0x61));
	/* The line is up, and not only was. */
	machine_wire_pin(&to.machine, 11, 0x63);
	CHECK(machine_wait_interrupt(&to.machine, 0x63));
	CHECK_EQ(ivshmem_kvm_load(to.kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, low, low_size, NULL), 0);
	machine_wire_pin(&to.machine, 11, 0x62);
	CHECK(!machine_interrupted(&to.machine, 0x62));
	CHECK_EQ(ivshmem_kvm_load(to.kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, high, high_size, NULL), 0);
	CHECK(machine_wait_interrupt(&to.machine, 0x62));
	device_close(&to);
	group_close(&group);
	free(high);
	free(low);
}

TEST(only_the_master)
{
	struct ivshmem_error error = {0};
	struct device device;
	struct group group;
	uint8_t state[4096] = {0};

	group_open(&group, VECTORS);
	open_master(&device, &group, IVSHMEM_DEVICE_MASTER_OFF);
	CHECK(!ivshmem_kvm_is_master(device.kvm));
	CHECK_EQ(ivshmem_kvm_save(
			 device.kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, sizeof(state), &error),
		-EPERM);
	CHECK_EQ(error.code, -EPERM);
	CHECK_EQ(ivshmem_kvm_load(
			 device.kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, sizeof(state), &error),
		-EPERM);
	device_close(&device);
	group_close(&group);
}

TEST(garbage_changes_nothing)
{
	struct ivshmem_error error = {0};
	struct device device;
	struct group group;
	uint8_t *state;
	size_t size;

	group_open(&group, VECTORS);
	open_master(&device, &group, IVSHMEM_DEVICE_MASTER_AUTO);
	CHECK(ivshmem_kvm_is_master(device.kvm));
	state = save(&device, &size);
	device_place(&device);
	state[0] ^= 1;
	CHECK_EQ(ivshmem_kvm_load(device.kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, size, &error),
		-EINVAL);
	CHECK(error.message[0] != '\0');
	CHECK(device_status(&device).memory_mapped);
	CHECK_EQ(device_status(&device).ioeventfds, VECTORS);
	state[0] ^= 1;
	CHECK_EQ(
		ivshmem_kvm_load(device.kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, size, &error), 0);
	CHECK(!device_status(&device).memory_mapped);
	CHECK_EQ(device_status(&device).ioeventfds, 0);
	device_close(&device);
	group_close(&group);
	free(state);
}
