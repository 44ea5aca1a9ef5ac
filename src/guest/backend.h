/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_BACKEND_H
#define GUEST_BACKEND_H

/*
 * What a back end has to offer: one way for a process in a guest to use the PCI device.
 *
 * To add one, write a file with a struct guest_backend, declare it below, and name it in the table
 * in guest.c.
 */

#include <guest/pci.h>

#include <ivshmem/client.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest;
struct ivshmem_error;
struct log;
struct loop;

#define NODE_PATH_MAX 256

struct guest_backend {
	const char *name;

	/* guest.c chooses it for devices bound to these drivers; "" is none. Ends with NULL. */
	const char *const *drivers;

	/*
	 * Attach to guest->pci, and fill in `state` and the fields below it. On failure, everything
	 * that was opened is closed again: close() is not called.
	 */
	int (*open)(struct guest *guest, struct ivshmem_error *reterr);

	/* Any thread may call it. It never blocks. `vector` is below IVSHMEM_MAX_VECTORS. */
	int (*ring)(struct guest *guest, uint16_t peer, unsigned vector);

	/* ivshmem_on_close(), with at most IVSHMEM_ON_CLOSE_MOST of each. NULL: impossible. */
	int (*on_close)(struct guest *guest, const struct ivshmem_store *stores, size_t n_stores,
		const struct ivshmem_target *targets, size_t n_targets);

	/* Remove every source, close every descriptor, unmap the memory, free `state`. */
	void (*close)(struct guest *guest);
};

/* Whoever opens the device. */
struct guest_owner {
	struct loop *loop;     /* watches for the device being unplugged */
	const struct log *log; /* may be NULL */
	const bool *heard;     /* for each vector, whether its interrupts are wanted */
	/* The loop calls it, at most once: the device is gone, or the host asks for it back. */
	void (*unplugged)(void *data, const char *message);
	void *data;
};

/* The device as a process in its guest has it. */
struct guest {
	const struct guest_backend *backend;
	struct guest_owner owner;
	struct pci_device pci;
	char node[NODE_PATH_MAX]; /* of our driver, if that is how the device was named; or "" */
	bool unplugged;           /* atomic: any thread that rings reads it */

	void *state; /* the back end's own */
	uint16_t id;
	void *memory;
	size_t size;
	/* What this way of mapping is known to give; guest.c asks the kernel, which may know better. */
	enum ivshmem_mapping mapping;
	const char *doorbell; /* what ivshmem_doorbell() says */
	int *vectors;         /* an eventfd each, -1 if not heard; guest.c closes and frees them */
	unsigned n_vectors;
};

/* For back ends: the device is being unplugged. From now on, rings fail. */
static inline void
guest_unplugged(struct guest *guest, const char *message)
{
	__atomic_store_n(&guest->unplugged, true, __ATOMIC_RELAXED);
	guest->owner.unplugged(guest->owner.data, message);
}

/*
 * Create guest->vectors, `n` of them, and an eventfd for each that is heard. Returns how many those
 * are, or an error; then guest.c closes those that there are.
 */
int guest_add_eventfds(struct guest *guest, unsigned n, struct ivshmem_error *reterr);

extern const struct guest_backend guest_kernel;
extern const struct guest_backend guest_vfio;
extern const struct guest_backend guest_sysfs;

#endif
