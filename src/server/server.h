/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

/*
 * The server: accepts clients on listening sockets, makes each of them a peer with an id, eventfds
 * and the memory, and tells all of them about each other. docs/protocol.md describes what travels.
 *
 * There are three kinds of sockets. A client of the first becomes a member, with the next id. A
 * client of a seat's socket always gets the id of the seat, one client at a time. A client of the
 * observers' socket gets no id, and nobody is told of it.
 *
 * The parts: admission decides who gets in, clients serves them, roster knows what each of them is
 * to be told, ids chooses ids.
 */

#include <stdint.h>

struct ivshmem_error;
struct journal;
struct log;
struct loop;
struct record;
struct server;

struct server_seat {
	uint16_t id;
	int listen_fd; /* borrowed, non-blocking */
};

struct server_config {
	struct loop *loop;
	const struct log *log; /* must outlive the server */
	int listen_fd;         /* for members; borrowed, non-blocking */
	int observer_listen_fd;
	unsigned max_observers;          /* more are refused; 0: there is no socket for them */
	const struct server_seat *seats; /* of different ids */
	unsigned n_seats;
	int memory_fd;      /* borrowed */
	unsigned n_vectors; /* per client, 0 to IVSHMEM_MAX_VECTORS */
	unsigned max_peers; /* more are refused, all seats counting as taken; 0: all ids */

	/* The server disconnects a client that takes nothing from its full socket for so long; 0:
	 * never. */
	uint64_t stall_limit_ns;
};

/* -ENOMEM, -EMFILE, ..., -EINVAL if two seats have the same id. */
int server_new(struct server **ret_server, const struct server_config *config);

/*
 * Write all of it down, and go on from there in another process (record.h). The record is called
 * "server". The eventfds of the peers and the sockets of the clients go along as descriptors.
 *
 * server_continue() takes the descriptors over if it succeeds, and otherwise closes them or leaves
 * them open: whoever fails to go on has to end. `config` must have as many vectors and the same
 * seats as the server that wrote the record, and observers only go on if there is a socket for
 * them. -EINVAL and -EPROTONOSUPPORT if the record is wrong, and others as above.
 */
int server_write(const struct server *server, struct record *ret_record);
int server_continue(struct server **ret_server, const struct server_config *config,
	const struct record *record, struct ivshmem_error *reterr);

/* Write down all that happens from now on (journal.h), which must begin with what is now. */
void server_keep_journal(struct server *server, struct journal *journal);
/*
 * A socket that a server before us accepted on this listening socket, and did nothing with. Takes it
 * over.
 */
void server_admit(struct server *server, int listen_fd, int socket);

/* Disconnects all clients, and tells none of them that the others leave. Returns NULL. */
struct server *server_free(struct server *server);

uint32_t server_n_peers(const struct server *server);

/*
 * How many clients of `n_vectors` vectors are possible within a limit of `limit` descriptors, of
 * which `used` are open already.
 */
unsigned server_capacity(unsigned long limit, unsigned used, unsigned n_vectors);

#endif
