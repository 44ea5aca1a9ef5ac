/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLIENT_BACKEND_H
#define CLIENT_BACKEND_H

/*
 * The inside of libivshmem: the client, and what a back end does for it.
 *
 * The target's scheme says which back end it is. open() fills in id, memory, mapping, doorbell and
 * vectors, and adds its descriptors to client->loop. From then on, the back end calls the
 * client_...() functions below from loop callbacks. events.c counts and calls the application,
 * client.c answers its questions and waits.
 */

#include <base/log.h>
#include <loop/loop.h>

#include <ivshmem/abi.h>
#include <ivshmem/client.h>

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend {
	const char *scheme; /* of its targets, without the colon */
	bool without_id;    /* we get no id, so nobody can ring us */

	/*
	 * Attach to `address`, the target without its scheme, by client->deadline (clock_now()). On
	 * failure, close everything again: nobody calls close().
	 */
	int (*open)(
		struct ivshmem_client *client, const char *address, struct ivshmem_error *reterr);

	/* Both are NULL if the back end does not know who is connected. */
	int (*peers)(const struct ivshmem_client *client, uint16_t *ids, size_t max);
	int (*peer_vectors)(const struct ivshmem_client *client, uint16_t peer);

	/* ivshmem_peer_pending(). NULL: this is unknowable. */
	int (*peer_pending)(const struct ivshmem_client *client, uint16_t peer, unsigned vector,
		uint64_t *ret_count);

	/* Any thread may call it, after the fence. It never blocks. `vector` is below
	 * IVSHMEM_MAX_VECTORS. */
	int (*ring)(struct ivshmem_client *client, uint16_t peer, unsigned vector);

	/* ivshmem_on_close(), with at most IVSHMEM_ON_CLOSE_MOST of each. NULL: impossible. */
	int (*on_close)(struct ivshmem_client *client, const struct ivshmem_store *stores,
		size_t n_stores, const struct ivshmem_target *targets, size_t n_targets);

	/* Remove every source, close every descriptor, unmap the memory, free `state`. */
	void (*close)(struct ivshmem_client *client);
};

/* One of our own vectors: the eventfd we are interrupted through. */
struct vector {
	struct ivshmem_client *client;
	struct loop_source source; /* source.fd is -1 if there is none */
	unsigned index;
	uint64_t pending; /* rings that ivshmem_take() has not taken */
};

struct ivshmem_client {
	const struct backend *backend;
	void *state;      /* the back end's own */
	const char *name; /* what ivshmem_backend() says: the scheme, unless open() sets it */

	struct ivshmem_ops ops;
	void *data;
	struct log log; /* ends in ops->log */

	struct loop *loop;
	uint64_t deadline;         /* for open() */
	const char *guest_backend; /* for open(): the one that was asked for, or NULL */
	bool dispatching;          /* we are in ivshmem_dispatch(): callbacks may run */
	struct ivshmem_error lost; /* code 0, or what lost() was or will be called with */
	unsigned handled;          /* what ivshmem_dispatch() returns */
	struct loop_timer later;   /* due at once: the next dispatch has something to report */

	uint16_t id;              /* 0 if we observe */
	unsigned n_group_vectors; /* of each peer, if we observe */
	void *memory;
	int memory_fd; /* -1 in a guest */
	uint64_t size;
	bool read_only; /* how the memory is mapped */
	enum ivshmem_mapping mapping;
	const char *doorbell; /* what ivshmem_doorbell() says */

	struct vector **vectors; /* n_vectors pointers: a vector must not move, the loop knows its
				    address */
	unsigned n_vectors;
	bool heard[IVSHMEM_MAX_VECTORS]; /* those that the application wants to hear */
};

/*
 * Append one of our vectors, watch its eventfd and count its rings, if the application wants to hear
 * it. -1 makes a vector that never rings. The eventfd stays the back end's. -ENOMEM, -ENOSPC (there
 * are IVSHMEM_MAX_VECTORS already).
 */
int client_add_vector(struct ivshmem_client *client, int fd);

/* For a back end's close(): remove all our vectors, before it closes their eventfds. */
void client_remove_vectors(struct ivshmem_client *client);

/* Tell the application that the server or the device is lost, now or at its next dispatch. Only the
 * first call counts. */
void client_lose(struct ivshmem_client *client, int code, const char *message);

/* Peers come and go. The loop and open() may call these. */
void client_peer_joined(struct ivshmem_client *client, uint16_t peer, unsigned vectors);
void client_peer_vectors(struct ivshmem_client *client, uint16_t peer, unsigned vectors);
void client_peer_left(struct ivshmem_client *client, uint16_t peer);

/* Our id for the trace; -1 if we observe. */
static inline int
client_trace_id(const struct ivshmem_client *client)
{
	return client->backend && client->backend->without_id ? -1 : client->id;
}

extern const struct backend backend_unix;
extern const struct backend backend_observe;
extern const struct backend backend_shm;
extern const struct backend backend_file;
extern const struct backend backend_pci;
extern const struct backend backend_dev;

#endif
