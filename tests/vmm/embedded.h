/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_EMBEDDED_H
#define VMM_EMBEDDED_H

/*
 * The device inside this process: the worked example of how a VMM uses ivshmem/kvm.h. It is walked
 * through in docs/embedding.md.
 */

#include <vm.h>

#include <ivshmem/kvm.h>

struct embedded_config {
	const char *server;                         /* path of its socket */
	const struct ivshmem_device_config *device; /* NULL: the defaults */
	/* Leave the VM's interrupt routes to the library, which then owns them all. */
	bool own_routes;
};

/* Attach a device to a VM that does not run yet. It is freed with the VM. */
void embedded_attach(struct vm *vm, unsigned slot, const struct embedded_config *config);

/* The library's device in this slot. */
struct ivshmem_kvm *embedded_device(struct vm *vm, unsigned slot);

#endif
