/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

/*
 * The server: accepts clients on a listening socket, makes each of them a peer with an id, eventfds
 * and the memory, and tells everybody of everybody. docs/protocol.md describes what travels.
 */

#include <log.h>
#include <loop.h>

#include <stdint.h>

struct server;

struct server_config {
	struct loop *loop;
	const struct log *log; /* must outlive the server */
	int listen_fd;         /* borrowed, non-blocking */
	int memory_fd;         /* borrowed */
	unsigned n_vectors;    /* per client, 0 to IVSHMEM_MAX_VECTORS */
	unsigned max_peers;    /* more are refused; 0: as many as there are ids */

	/* A client that takes nothing from its full socket for so long is disconnected; 0: never.
	 */
	uint64_t stall_limit_ns;
};

/* -ENOMEM, -EMFILE, ... */
int server_new(struct server **ret_server, const struct server_config *config);
/* Disconnects everybody, telling nobody of anybody's leave. Returns NULL. */
struct server *server_free(struct server *server);

uint32_t server_n_peers(const struct server *server);

/* How many clients of `n_vectors` vectors `limit` descriptors are enough for, `used` ones being
 * open already. */
unsigned server_capacity(unsigned long limit, unsigned used, unsigned n_vectors);

#endif
