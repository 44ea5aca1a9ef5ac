/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_ROUTES_H
#define KVM_ROUTES_H

/*
 * The routes of our GSIs, which tell KVM what an irqfd sends.
 *
 * To replace the VM's routes takes KVM tens of microseconds, because it waits for every virtual
 * CPU. So we do it only if a route differs from what KVM has. For the same reason, a route stays
 * when its irqfd is removed: nothing uses the route, and mostly the same one is wanted again.
 */

#include <kvm/public.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct route {
	uint64_t address;
	uint32_t data;
	bool used;
};

struct routes {
	int vm_fd;
	uint32_t first_gsi;
	unsigned n;

	/* The VMM's function for changes. NULL: we own the VM's whole table. */
	int (*set)(const struct ivshmem_kvm_route *routes, size_t n, void *data);
	void *data;

	struct route *wanted, *committed;  /* n of each */
	struct ivshmem_kvm_route *changed; /* room for n */
	struct kvm_irq_routing *table;     /* room for all routes, if we own the table */
	uint64_t changes;                  /* how often KVM's table has been replaced */
};

/* Vector i gets GSI config->first_gsi + i. -ENOMEM; routes_done() is harmless then. */
int routes_init(struct routes *routes, const struct ivshmem_kvm_config *config, unsigned n);

/* Remove our routes, which nothing uses any more, and release everything. */
void routes_done(struct routes *routes);

/* Want this route for a vector that has no irqfd now. */
void routes_want(struct routes *routes, unsigned vector, uint64_t address, uint32_t data);

/* Give KVM all routes that are wanted. On failure, those that it does not have are not wanted any
 * more. */
int routes_commit(struct routes *routes);

#endif
