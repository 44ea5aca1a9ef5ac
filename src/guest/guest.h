/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

/* The PCI device from inside a guest: finding it, and using it through the back end that fits. */

#include <guest/backend.h>

/*
 * Attach to the device at `address` (pci_find()), or to that of a node of our driver if it begins with
 * a slash, and map its memory. `backend` is the name of the back end, or NULL: the driver bound to the
 * device decides. `owner` is copied.
 */
int guest_open(struct guest **ret_guest, const char *address, const char *backend,
	const struct guest_owner *owner, struct ivshmem_error *reterr);

/* NULL is allowed. Returns NULL. */
struct guest *guest_close(struct guest *guest);

/*
 * Any thread may call it, after its stores to the memory have become visible. It never blocks.
 * `vector` is below IVSHMEM_MAX_VECTORS. -ENODEV if the device is gone.
 */
int guest_ring(struct guest *guest, uint16_t peer, unsigned vector);

/* The back end called `name`, or, if that is NULL, the one for the driver bound to the device. */
int guest_choose_backend(const struct pci_device *device, const char *name,
	const struct guest_backend **ret_backend, struct ivshmem_error *reterr);

#endif
