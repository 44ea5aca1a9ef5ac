/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_ROUTES_H
#define KVM_ROUTES_H

/*
 * The routes of our GSIs, which tell KVM what an irqfd sends.
 *
 * Replacing the VM's routes takes KVM tens of microseconds, in which every virtual CPU is waited
 * for, so it is done only if a route differs from what KVM has. That is also why a route stays when
 * its irqfd goes: nothing uses it, and mostly the same one is wanted again.
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

	/* The VMM's function, or NULL if the table is ours. */
	int (*set)(const struct ivshmem_kvm_route *routes, size_t n, void *data);
	void *data;

	struct route *wanted, *committed;  /* n of each */
	struct ivshmem_kvm_route *changed; /* room for n */
	struct kvm_irq_routing *table;     /* room for all, if the table is ours */
	uint64_t changes;                  /* how often KVM's table was replaced */
};

/* Vector i has GSI config->first_gsi + i. -ENOMEM; routes_done() is harmless then. */
int routes_init(struct routes *routes, const struct ivshmem_kvm_config *config, unsigned n);

/* Take our routes away and release everything. Nothing uses them any more. */
void routes_done(struct routes *routes);

/* Want this route for a vector that has no irqfd now. */
void routes_want(struct routes *routes, unsigned vector, uint64_t address, uint32_t data);

/* Make KVM have all routes that are wanted. On failure, those that it has not are no longer wanted. */
int routes_commit(struct routes *routes);

#endif
