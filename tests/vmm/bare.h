/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_BARE_H
#define VMM_BARE_H

/*
 * No device at all: the memory slot, ioeventfds and irqfds that let guests ring each other, set by
 * hand. There is no config space; the guest is told where things are (GUEST_SETUP_FIXED). What the
 * kernel alone can do is the measure for everything that has a device.
 */

#include <vm.h>

/* The memory, at GUEST_BAR2_AT. */
int bare_memory(struct vm *vm, void *memory, uint64_t size);
/* Writing `value` to the doorbell of a BAR0 at GUEST_BAR0_AT rings the eventfd. */
int bare_doorbell(struct vm *vm, uint32_t value, int eventfd);
/* The eventfd is interrupt GUEST_MSIX_INTERRUPT + `vector`. */
int bare_interrupt(struct vm *vm, unsigned vector, int eventfd);

#endif
