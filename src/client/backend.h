/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLIENT_BACKEND_H
#define CLIENT_BACKEND_H

/*
 * The inside of libivshmem: the client that client.c keeps, and what a back end does for it.
 *
 * A back end is found by the target's scheme and name. open() fills in id, memory, mapping, doorbell
 * and vectors, and adds its descriptors to client->loop; from then on it calls the client_...()
 * functions below from loop callbacks. client.c does the rest: peers, counters, callbacks, waiting.
 */

#include <base/log.h>
#include <loop/loop.h>

#include <ivshmem/client.h>

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend {
	const char *name;
	bool interrupts; /* can we be interrupted at all */
	bool without_id; /* we have no id */

	/*
	 * Attach to `address`, the target without its scheme, by client->deadline (clock_now()). On
	 * failure everything that was opened is closed again: close() is not called.
	 */
	int (*open)(
		struct ivshmem_client *client, const char *address, struct ivshmem_error *reterr);

	/* Both are NULL if the back end does not know who is connected. */
	int (*peers)(const struct ivshmem_client *client, uint16_t *ids, size_t max);
	int (*peer_vectors)(const struct ivshmem_client *client, uint16_t peer);

	/* By any thread, after the fence. Never blocks. Range checks of the vector against
	 * IVSHMEM_MAX_VECTORS are done. */
	int (*ring)(struct ivshmem_client *client, uint16_t peer, unsigned vector);

	/* Remove every source, close every descriptor, unmap the memory, free `state`. */
	void (*close)(struct ivshmem_client *client);
};

/* One of our own vectors: the eventfd we are interrupted through. */
struct vector {
	struct ivshmem_client *client;
	struct loop_source source; /* source.fd is -1 if there is none */
	bool owned;                /* source.fd */
	unsigned index;
	uint64_t pending; /* rings that ivshmem_take() has not taken */
};

struct ivshmem_client {
	const struct backend *backend;
	void *state; /* the back end's own */

	struct ivshmem_ops ops;
	void *data;
	struct log log; /* ends in ops->log */

	struct loop *loop;
	uint64_t deadline;         /* for open() */
	bool dispatching;          /* inside ivshmem_dispatch(): callbacks may run */
	struct ivshmem_error lost; /* code 0, or what lost() was or will be called with; the code
				      is atomic, because whoever rings looks at it */
	unsigned handled;          /* things that happened in this dispatch */
	struct loop_timer
		later; /* due at once: there is something to report from the next dispatch */

	uint16_t id;              /* 0 if we observe */
	unsigned n_group_vectors; /* of each peer, if we observe */
	void *memory;
	int memory_fd; /* -1: there is none, or it is not memory of the host */
	uint64_t size;
	bool read_only; /* the mapping of the memory */
	enum ivshmem_mapping mapping;
	const char *doorbell; /* what ivshmem_doorbell() says */

	struct vector **vectors; /* n_vectors pointers: a vector must not move, the loop knows its
				    address */
	unsigned n_vectors;
};

/*
 * Append an own vector with its eventfd, watch it and count its rings. -1 makes a vector that never
 * fires. `owned`: it is closed with the vector. -ENOMEM, -ENOSPC (already IVSHMEM_MAX_VECTORS).
 */
int client_add_vector(struct ivshmem_client *client, int fd, bool owned);

/* Remove and close all own vectors: for a back end's close(). */
void client_remove_vectors(struct ivshmem_client *client);

/* Tell the application, now or at its next dispatch. Only the first call counts. */
void client_lose(struct ivshmem_client *client, int code, const char *message);

/* The device is gone, and a ring goes nowhere. Any thread. */
static inline bool
client_is_unplugged(const struct ivshmem_client *client)
{
	return __atomic_load_n(&client->lost.code, __ATOMIC_RELAXED) == -ENODEV;
}

/* Peers come and go; called from the loop or from open(). */
void client_peer_joined(struct ivshmem_client *client, uint16_t peer, unsigned vectors);
void client_peer_vectors(struct ivshmem_client *client, uint16_t peer, unsigned vectors);
void client_peer_left(struct ivshmem_client *client, uint16_t peer);

extern const struct backend backend_unix;
extern const struct backend backend_observe;
extern const struct backend backend_vfio;
extern const struct backend backend_sysfs;
extern const struct backend backend_shm;
extern const struct backend backend_file;

/* ---- pci.c: finding the device in a guest ---------------------------------------------------- */

#define PCI_ADDRESS_MAX 16 /* "0000:00:05.0" and its NUL */

/* A PCI device as sysfs shows it. */
struct pci_device {
	char address[PCI_ADDRESS_MAX];
	char driver[64];                    /* name of the driver bound to it, "" if none */
	uint64_t bar_start[6], bar_size[6]; /* BAR0 .. BAR5; size 0 if absent */
};

/*
 * Resolve "auto", "0000:00:05.0" or "00:05.0" to an ivshmem device. The error names the devices
 * there are when "auto" is ambiguous, and what to do when there is none.
 */
int pci_find(const char *address, struct pci_device *ret_device, struct ivshmem_error *reterr);

/* Which back end serves the device: by `name` if not NULL, else by the driver bound to it. */
int pci_choose_backend(const struct pci_device *device, const char *name,
	const struct backend **ret_backend, struct ivshmem_error *reterr);

/*
 * How the kernel maps [start, start + size): from its list of memory types if it can be read, else
 * `otherwise`, what the way of mapping is known to give.
 */
enum ivshmem_mapping pci_memory_mapping(
	uint64_t start, uint64_t size, enum ivshmem_mapping otherwise);

#endif
