/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_REMOTE_H
#define VMM_REMOTE_H

/*
 * The device in another process, which serves it over vfio-user (ivshmem-device). Config space and
 * registers are asked of it by messages. The rest is arranged with KVM so that neither process has
 * a part in it: BAR2 is mapped, interrupts are irqfds, and with `io_fds`, the doorbell is ioeventfds
 * that the device hands out.
 */

#include <vm.h>

struct remote_config {
	const char *path; /* of the device's socket */
	bool io_fds;      /* false: every ring is a message */
};

/* Attach a device to a VM that does not run yet. It is freed with the VM. */
void remote_attach(struct vm *vm, unsigned slot, const struct remote_config *config);

/*
 * Ask for the ioeventfds again: peers have joined or left, which nobody tells a vfio-user client.
 * Until then, those that joined are rung by messages. Returns how many there are.
 */
unsigned remote_refresh(struct vm *vm, unsigned slot);

/* How many there would be, whether we use them or not. */
unsigned remote_count(struct vm *vm, unsigned slot);

/* The device's id, as IVPosition says. */
uint32_t remote_id(struct vm *vm, unsigned slot);

/* How many messages the device was sent so far. */
uint64_t remote_requests(struct vm *vm, unsigned slot);

#endif
