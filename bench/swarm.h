/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_SWARM_H
#define BENCH_SWARM_H

/*
 * Many clients of one server in one thread: connects them, drains their sockets as cheaply as the
 * kernel allows, and keeps the books on what each of them was told.
 *
 * Every message is checked against the books: the three first messages, an eventfd of a peer that
 * still lacks one, a leave notice of a peer whose eventfds are all there. Those count as delivered.
 * Everything else, a second leave notice or an eventfd too many, counts as an error and never makes
 * up for a missing message.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SWARM_HELLO_MESSAGES 3 /* version, own id, memory */

struct swarm_settings {
	const char *socket_path;
	pid_t server;      /* to notice that it died; 0: unknown */
	unsigned capacity; /* clients */
	unsigned vectors;  /* per client */
	unsigned slots;    /* distinct peers over the swarm's life */
	bool discard_fds;  /* let the kernel drop the descriptors instead of receiving and closing
			      them */
	bool spin;         /* never sleep: the server then pays for no wake-up */
	unsigned idle_ms;  /* give up when no message came for so long */
	unsigned limit_ms; /* give up in any case */
};

struct swarm_client {
	int fd; /* -1: not connected */
	unsigned slot;
	int64_t missing; /* messages that are still to come */
	uint64_t delivered;
	uint64_t complete_ns; /* when `missing` became 0 */
	uint16_t *seen;       /* per slot, eventfds of that peer that came */
	uint8_t hello;
	uint8_t carry_length;
	bool carry_fd;
	bool watched;
	bool stalled;
	bool bulk; /* read many messages at once: only when all that is to come is leave notices */
	uint8_t carry[8];
};

struct swarm {
	struct swarm_settings settings;
	struct swarm_client *clients;
	unsigned connected;
	unsigned incomplete; /* clients with missing messages that are not stalled */
	unsigned slots_used;
	int epoll_fd;
	uint64_t expected;
	uint64_t delivered;
	uint64_t errors;
	unsigned disconnected; /* by the server */
	uint64_t last_message_ns;
	uint64_t last_connect_ns;
	int32_t slot_of[65536]; /* by peer id; -1: not seen yet */
};

int swarm_create(const struct swarm_settings *settings, struct swarm **ret_swarm);
struct swarm *swarm_free(struct swarm *swarm);

/* From now on `client` is owed `count` messages more. */
void swarm_expect(struct swarm *swarm, struct swarm_client *client, uint64_t count);

/*
 * Connect a client without blocking. -EAGAIN: the server's backlog is full, drain and try again.
 */
int swarm_connect(struct swarm *swarm, struct swarm_client *client);

void swarm_disconnect(struct swarm *swarm, struct swarm_client *client);

/* Stop reading a client's socket, or go on. A stalled client does not count as incomplete. */
void swarm_stall(struct swarm *swarm, struct swarm_client *client);
void swarm_resume(struct swarm *swarm, struct swarm_client *client);

/* One round: wait for messages `timeout_ms` at most and read them. Returns the number of sockets
 * that had some. */
int swarm_drain(struct swarm *swarm, int timeout_ms);

/*
 * Drain until no client is incomplete. False: the server closed or died, or a time limit was
 * reached.
 */
bool swarm_complete(struct swarm *swarm);

/*
 * The same for a quiet moment: gives up as soon as the server sleeps and nothing is left to read,
 * because what is missing then is not going to come. Not for a server that may be waiting for a
 * timer.
 */
bool swarm_complete_or_settled(struct swarm *swarm);

/* Connect the first `count` clients at once; drains only while the server's backlog is full. */
bool swarm_connect_all(struct swarm *swarm, unsigned count);

/*
 * Take what is missing as lost, and go on as if every client knew every peer: so that a server
 * which loses messages can be measured in what comes next. Returns how many clients were
 * incomplete.
 */
unsigned swarm_forgive(struct swarm *swarm);

#endif
