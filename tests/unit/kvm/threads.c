/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Everybody at once: a processor that runs, one that reprograms the device, the thread that
 * dispatches, peers that come, ring and leave, and somebody who asks. What is left at the end must
 * be as if they had come one after the other. (Build with -Db_sanitize=thread to see more.)
 */

#include "kvm_group.h"

#include <poll.h>

#define VECTORS 4
#define FIRST   0x41

/* How often the slowest of them does what it does. */
#define ROUNDS 150

static atomic_bool quit;

static void *
run_guest(void *data)
{
	(void)data;

	for (uint32_t i = 0; !atomic_load(&quit); i++) {
		guest_store(AT_BAR0 + IVSHMEM_REG_DOORBELL,
			ivshmem_doorbell_value((uint16_t)(i % 8), (uint16_t)(i % VECTORS)));
		guest_store(AT_BAR2 + i % 1024 * 4, i);
		guest_load(AT_BAR2 + i % 1024 * 4);
		guest_load(AT_BAR0 + IVSHMEM_REG_IV_POSITION);
	}
	return NULL;
}

static void *
reprogram(void *data)
{
	(void)data;

	for (uint32_t i = 0; !atomic_load(&quit); i++) {
		unsigned vector = i % VECTORS;

		switch (i % 9) {
		case 0:
			config_put(0x10, 4, AT_BAR0 + i % 3 * 0x1000);
			break;
		case 1:
			config_put(0x18, 4, AT_BAR2 + i % 3 * 0x1000000);
			break;
		case 2:
			command(i % 4 == 0 ? 0 : COMMAND_DECODE | COMMAND_MASTER);
			break;
		case 3:
			msix(i % 4 == 0 ? 0 : MSIX_ENABLE);
			break;
		case 4:
			msix(MSIX_ENABLE | (i % 2 ? MSIX_MASK_ALL : 0));
			break;
		case 5:
		case 6:
			entry_mask(vector, i % 2);
			break;
		case 7:
			entry_write(vector, (uint8_t)(FIRST + i % 64), false);
			break;
		default:
			is_pending(vector);
			if (i % 100 == 8)
				ivshmem_kvm_reset(device.kvm);
		}
	}
	return NULL;
}

static void *
dispatch(void *data)
{
	struct pollfd ready = {.fd = ivshmem_kvm_fd(device.kvm), .events = POLLIN};

	(void)data;
	while (!atomic_load(&quit)) {
		CHECK_SYS(poll(&ready, 1, 20));
		CHECK_EQ(ivshmem_kvm_dispatch(device.kvm), 0);
	}
	return NULL;
}

static void *
ask(void *data)
{
	struct ivshmem_kvm *kvm = device.kvm;
	uint8_t state[4096];

	(void)data;
	while (!atomic_load(&quit)) {
		CHECK(status().irqfds <= VECTORS);
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
come_ring_and_leave(void)
{
	struct ivshmem_client *visitor = group_join(&group);

	for (unsigned i = 0; i < 100; i++)
		CHECK_EQ(ivshmem_ring(visitor, 0, i % VECTORS), 0);
	visitor = ivshmem_detach(visitor);
}

TEST_WITH(everybody_at_once, .timeout_s = 300)
{
	static void *(*const bodies[])(void *) = {run_guest, reprogram, dispatch, ask};
	pthread_t threads[4];

	scene_prepare(1, VECTORS);
	device.config.master = IVSHMEM_DEVICE_MASTER_ON;
	device_attach();
	device_place();
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, bodies[i], NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++)
		come_ring_and_leave();
	atomic_store(&quit, true);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);

	client = group_join(&group);
	ivshmem_kvm_reset(device.kvm);
	device_place();
	DEVICE_UNTIL(status().ioeventfds == 2 * VECTORS);
	for (unsigned i = 0; i < VECTORS; i++)
		entry_write(i, (uint8_t)(FIRST + i), false);
	msix(MSIX_ENABLE);
	CHECK_EQ(status().irqfds, VECTORS);
	for (unsigned i = 0; i < VECTORS; i++) {
		interrupted((uint8_t)(FIRST + i));
		client_rings(i);
		CHECK(wait_interrupt((uint8_t)(FIRST + i)));
	}
	ivshmem_dispatch(client, 0);
	for (unsigned i = 0; i < VECTORS; i++)
		ivshmem_take(client, i);
	device.machine.exits = 0;
	guest_store(AT_BAR0 + IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(ivshmem_id(client), 2));
	client_hears(2);
	CHECK_EQ(device.machine.exits, 0);
	CHECK_EQ(device.warnings, 0);
}
