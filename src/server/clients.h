/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_CLIENTS_H
#define SERVER_CLIENTS_H

/*
 * The clients: the connections of the peers on the roster. This part tells each client what the
 * roster has for it, and lets it go when it closes its end or breaks a rule. clients.c has the
 * theory.
 */

#include <base/clock.h>
#include <base/list.h>
#include <base/pace.h>
#include <loop/loop.h>
#include <server/roster.h>
#include <socket/process.h>

#include <stdbool.h>
#include <stdint.h>

struct journal;
struct log;

/* How soon to try again when the kernel lacks something, and no event will tell that it has it
 * again. */
#define RETRY (20 * NSEC_PER_MSEC)

struct door; /* where clients come in: admission.c */

#define CLIENT_STATES 5 /* clients.c has the theory */

struct client {
	struct clients *clients;
	struct door *door; /* it came in here */
	struct peer *peer; /* NULL until client_join() */
	struct process process;
	struct loop_source source; /* source.fd is the socket, owned once it has joined */
	struct list link;          /* the list of its state */
	bool fresh;                /* has never been up to date */
	uint64_t full_since; /* clock_now() when it last took something; 0 unless it is full */
	int unread;          /* bytes in its full socket then */
};

struct clients {
	struct loop *loop;
	const struct log *log;
	struct roster *roster;
	struct journal *journal; /* NULL: there is none */
	struct pace *warnings;   /* that clients can cause; all parts of the server share it */
	struct pace news;        /* who came and went */
	uint64_t stall_limit_ns; /* 0: none */

	/* A client is gone, and is no longer on the roster. Tells whether others knew of its id. */
	void (*left)(struct door *door, uint16_t id, bool announced);

	union { /* client::link */
		struct {
			struct list fresh, ready, idle, full, starved;
		};
		struct list states[CLIENT_STATES];
	};
	struct loop_work send_work;
	struct loop_timer retry_timer; /* for the starved */
	struct loop_timer stall_timer; /* for the first of the full */
	uint64_t starving_since;       /* clock_now(); 0 unless somebody starves */
};

/* From all zero, with what is above the lists set. */
void clients_init(struct clients *clients);
/* Disconnect everybody. They are still on the roster, which is to be closed next. */
void clients_done(struct clients *clients);

/* A client for this socket, without a peer yet. -ENOMEM and other errors of loop_add(). */
int client_new(struct client **ret_client, struct clients *clients, struct door *door, int socket);
/* For one that has not joined; its socket remains the caller's. */
void client_free(struct client *client);
/* It joins as this peer, and takes over the socket and the peer if that succeeds. -ENOMEM. */
int client_join(struct client *client, struct peer *peer, uint64_t stamp);

/*
 * For a server that goes on where another one ended: it is the client of a peer that is on the
 * roster already, and takes over the socket.
 */
void client_continue(struct client *client, struct peer *peer, bool fresh, bool full);

/* It closed its end. */
void client_left(struct client *client);

/* Has nobody been able to take anything, for longer than `limit`? */
bool clients_are_stuck(const struct clients *clients, uint64_t limit);

#endif
