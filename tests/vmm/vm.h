/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_VM_H
#define VMM_VM_H

/*
 * A virtual machine: KVM, one processor with its thread, memory, a PCI bus, and the guest of
 * guest/, which carries out commands. All functions but vm_new() may be called by any one thread
 * besides the processor's.
 */

#include <machine.h>
#include <pci.h>

#include <guest/mailbox.h>

#include <ivshmem/common.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VM_MEMORY_SIZE (UINT64_C(64) << 20)

/* Memory slots of KVM: the memory is 0, the others are for devices. */
enum { VM_SLOT_MEMORY, VM_SLOT_DEVICE };

/* Interrupt lines of KVM: below 24 are the pins of the IOAPIC, those of the device from here on. */
#define VM_GSI_INTX 16
#define VM_GSI_MSI  24
#define VM_MAX_MSI  (GUEST_MSIX_VECTORS * PCI_SLOTS)

/* Where the interrupts of line `gsi` go: into a message; or, address 0, nowhere. */
struct vm_route {
	uint32_t gsi; /* from VM_GSI_MSI on */
	uint64_t address;
	uint32_t data;
};

struct vm {
	struct machine machine;
	struct guest_mailbox volatile *mailbox;
	int cpu;

	struct pci_bus pci;

	pthread_t thread;
	bool has_thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool idle, stopping; /* the guest waits for a command; the thread shall end */

	pthread_mutex_t routes_lock;
	struct vm_route routes[VM_MAX_MSI];
};

/* What a VMM cannot go on without: says so, and ends the program. */
_Noreturn void vm_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A VM that does not run yet, so that devices can be attached: with the guest of this image, on this
 * processor of the host, or (-1) on any. */
struct vm *vm_new(const char *image, int cpu);
/* The guest runs, and waits for its first command when this returns. */
void vm_start(struct vm *vm);
/* Stops it, frees the attached devices. NULL is allowed. Returns NULL. */
struct vm *vm_free(struct vm *vm);

/* ---- what devices need ------------------------------------------------------------------------ */

/* Change where these interrupt lines go: all of them, or none. */
int vm_set_routes(struct vm *vm, const struct vm_route *routes, size_t n);

/* An eventfd raises an interrupt line, if `on`, or does so no longer. `resample` is -1, or an eventfd
 * that is rung when the guest has served a level triggered interrupt. */
int vm_irqfd(struct vm *vm, unsigned gsi, int eventfd, int resample, bool on);

/* A 32-bit write of this value, or, NULL, of any, to this address rings the eventfd, if `on`, or does
 * so no longer. */
int vm_ioeventfd(struct vm *vm, uint64_t address, const uint32_t *value, int eventfd, bool on);

/* ---- the guest -------------------------------------------------------------------------------- */

/* Give the guest a command. The one before it must be done. */
void vm_command(struct vm *vm, enum guest_command command, const uint32_t arguments[4]);
/* Until it is done; it has to be some time. `results` may be NULL. */
void vm_wait(struct vm *vm, uint32_t results[4]);
/* Whether it is done within so many milliseconds. */
bool vm_is_done(struct vm *vm, unsigned patience_ms);
/* End a command that waits or goes on until it is told to stop. */
void vm_stop_command(struct vm *vm);

/* Cycles per millisecond of the guest's clock. */
unsigned vm_tsc_khz(struct vm *vm);

#endif
