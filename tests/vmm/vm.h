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

/* How long a guest may take for a command, unless told otherwise. */
#define VM_PATIENCE_MS 100000

struct vm_config {
	const char *image; /* path of the guest's image */
	int cpu;           /* the host's processor to stay on, or -1 */
};

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
	bool idle, stopping;          /* the guest waits for a command; the thread shall end */
	struct ivshmem_error failure; /* why the processor stopped; code 0: it runs */

	pthread_mutex_t routes_lock;
	struct vm_route routes[VM_MAX_MSI];
};

/* A VM that does not run yet, so that devices can be attached. */
int vm_new(struct vm **ret_vm, const struct vm_config *config, struct ivshmem_error *reterr);
/* The guest runs, and waits for its first command when this returns. */
int vm_start(struct vm *vm, struct ivshmem_error *reterr);
/* Stops it, frees the attached devices. NULL is allowed. Returns NULL. */
struct vm *vm_free(struct vm *vm);

/* ---- what devices need ------------------------------------------------------------------------ */

/* Change where these interrupt lines go: all of them, or none. */
int vm_set_routes(struct vm *vm, const struct vm_route *routes, size_t n);

/* An eventfd raises an interrupt line, or does so no longer. `resample` is -1, or an eventfd that is
 * rung when the guest has served a level triggered interrupt. */
int vm_irqfd(struct vm *vm, unsigned gsi, int eventfd, int resample);
int vm_irqfd_remove(struct vm *vm, unsigned gsi, int eventfd);

/* A 32-bit write of this value, or, NULL, of any, to this address rings the eventfd, if `on`, or does
 * so no longer. */
int vm_ioeventfd(struct vm *vm, uint64_t address, const uint32_t *value, int eventfd, bool on);

/* ---- the guest -------------------------------------------------------------------------------- */

/* Give the guest a command. The one before it must be done. */
void vm_command(struct vm *vm, enum guest_command command, const uint32_t arguments[4]);
/* Until it is done. `results` may be NULL. -ETIMEDOUT after so many milliseconds. */
int vm_wait(struct vm *vm, uint32_t results[4], unsigned patience_ms, struct ivshmem_error *reterr);
/* End a command that waits or goes on until it is told to stop. */
void vm_stop_command(struct vm *vm);

/* Cycles per millisecond of the guest's clock. */
unsigned vm_tsc_khz(struct vm *vm);

#endif
