/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Everybody at once: a processor that runs, one that reprograms the device, the thread that
 * dispatches, peers that come, ring and leave, and somebody who asks. What is left at the end must
 * be as if they had come one after the other. (Build with -Db_sanitize=thread to see more.)
 */

#include "kvm_group.h"

#include <ivshmem/abi.h>
#include <test.h>

#include <poll.h>
#include <string.h>

#define VECTORS 4
#define FIRST   0x41

/* How often the slowest of them does what it does. */
#define ROUNDS 150

struct stage {
	struct group group;
	struct device device;
	atomic_bool quit;
};

static void *
run_guest(void *data)
{
	struct stage *stage = data;
	struct machine *machine = &stage->device.machine;

	for (uint32_t i = 0; !atomic_load(&stage->quit); i++) {
		machine_store(machine, AT_BAR0 + IVSHMEM_REG_DOORBELL,
			ivshmem_doorbell_value((uint16_t)(i % 8), (uint16_t)(i % VECTORS)));
		machine_store(machine, AT_BAR2 + i % 1024 * 4, i);
		machine_load(machine, AT_BAR2 + i % 1024 * 4);
		machine_load(machine, AT_BAR0 + IVSHMEM_REG_IV_POSITION);
	}
	return NULL;
}

static void *
reprogram(void *data)
{
	struct stage *stage = data;
	struct device *device = &stage->device;

	for (uint32_t i = 0; !atomic_load(&stage->quit); i++) {
		unsigned vector = i % VECTORS;

		switch (i % 9) {
		case 0:
			device_config_put(device, 0x10, 4, AT_BAR0 + i % 3 * 0x1000);
			break;
		case 1:
			device_config_put(device, 0x18, 4, AT_BAR2 + i % 3 * 0x1000000);
			break;
		case 2:
			device_command(device, i % 4 == 0 ? 0 : COMMAND_DECODE | COMMAND_MASTER);
			break;
		case 3:
			device_msix(device, i % 4 == 0 ? 0 : MSIX_ENABLE);
			break;
		case 4:
			device_msix(device, MSIX_ENABLE | (i % 2 ? MSIX_MASK_ALL : 0));
			break;
		case 5:
		case 6:
			device_mask(device, vector, i % 2);
			break;
		case 7:
			device_entry(device, vector, (uint8_t)(FIRST + i % 64), false);
			break;
		default:
			device_pending(device, vector);
			if (i % 100 == 8)
				ivshmem_kvm_reset(device->kvm);
		}
	}
	return NULL;
}

static void *
dispatch(void *data)
{
	struct stage *stage = data;
	struct pollfd ready = {.fd = ivshmem_kvm_fd(stage->device.kvm), .events = POLLIN};

	while (!atomic_load(&stage->quit)) {
		CHECK_SYS(poll(&ready, 1, 20));
		CHECK_EQ(ivshmem_kvm_dispatch(stage->device.kvm), 0);
	}
	return NULL;
}

static void *
ask(void *data)
{
	struct stage *stage = data;
	struct ivshmem_kvm *kvm = stage->device.kvm;
	uint8_t state[4096];

	while (!atomic_load(&stage->quit)) {
		struct ivshmem_kvm_status status = device_status(&stage->device);

		CHECK(status.irqfds <= VECTORS);
		CHECK(ivshmem_kvm_memory(kvm) != NULL);
		CHECK_EQ(ivshmem_kvm_id(kvm), 0);
		ivshmem_kvm_bar_address(kvm, 0);
		ivshmem_kvm_peer_vectors(kvm, 1);
		CHECK_EQ(ivshmem_kvm_save(
				 kvm, IVSHMEM_DEVICE_FORMAT_NATIVE, state, sizeof(state), NULL),
			0);
	}
	return NULL;
}

static void
come_ring_and_leave(struct stage *stage)
{
	struct ivshmem_client *client = group_join(&stage->group);

	for (unsigned i = 0; i < 100; i++)
		CHECK_EQ(ivshmem_ring(client, 0, i % VECTORS), 0);
	client = ivshmem_detach(client);
}

TEST_WITH(everybody_at_once, .timeout_s = 300)
{
	static void *(*const bodies[])(void *) = {run_guest, reprogram, dispatch, ask};
	pthread_t threads[4];
	struct stage stage;
	struct device *device = &stage.device;
	struct ivshmem_client *client;
	uint16_t id;

	memset(&stage, 0, sizeof(stage));
	group_open(&stage.group, VECTORS);
	device_prepare(device, &stage.group, 1, VECTORS);
	device->config.master = IVSHMEM_DEVICE_MASTER_ON;
	device_attach(device);
	device_place(device);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, bodies[i], &stage), 0);
	for (unsigned i = 0; i < ROUNDS; i++)
		come_ring_and_leave(&stage);
	atomic_store(&stage.quit, true);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);

	client = group_join(&stage.group);
	id = ivshmem_id(client);
	ivshmem_kvm_reset(device->kvm);
	device_place(device);
	DEVICE_UNTIL(device, device_status(device).ioeventfds == 2 * VECTORS);
	for (unsigned i = 0; i < VECTORS; i++)
		device_entry(device, i, (uint8_t)(FIRST + i), false);
	device_msix(device, MSIX_ENABLE);
	CHECK_EQ(device_status(device).irqfds, VECTORS);
	for (unsigned i = 0; i < VECTORS; i++) {
		machine_interrupted(&device->machine, (uint8_t)(FIRST + i));
		CHECK_EQ(ivshmem_ring(client, 0, i), 0);
		CHECK(machine_wait_interrupt(&device->machine, (uint8_t)(FIRST + i)));
	}
	ivshmem_dispatch(client, 0);
	for (unsigned i = 0; i < VECTORS; i++)
		ivshmem_take(client, i);
	device->machine.exits = 0;
	machine_store(
		&device->machine, AT_BAR0 + IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(id, 2));
	CHECK_EQ(ivshmem_wait(client, 2, 20000), 0);
	CHECK_EQ(device->machine.exits, 0);
	CHECK_EQ(device->journal.warnings, 0);
	client = ivshmem_detach(client);
	device_close(device);
	group_close(&stage.group);
}
