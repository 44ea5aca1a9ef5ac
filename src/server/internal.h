/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_INTERNAL_H
#define SERVER_INTERNAL_H

/*
 * The server's parts and what they know of each other: door.c lets clients in, server.c makes them
 * peers and lets them go, sending.c tells them what they are to be told.
 */

#include <server/server.h>

#include <base/list.h>
#include <base/pace.h>
#include <server/ids.h>
#include <server/roster.h>
#include <socket/process.h>

#include <stdbool.h>
#include <stdint.h>

/* How soon to try again when the kernel lacks something and no event tells that it has it again. */
#define RETRY (20 * NSEC_PER_MSEC)

struct client {
	struct server *server;
	struct peer *peer;
	struct loop_source source; /* source.fd is the socket, owned */
	struct list link;          /* the list of its state */
	uint64_t full_since; /* clock_now() when it last took something; 0 unless it is full */
	int unread;          /* bytes in its full socket then */
	bool fresh;          /* has never been up to date */
	struct process process;
	struct door *door; /* that of a seat it holds, else NULL */
};

/* A listening socket. */
struct door {
	struct server *server;
	enum peer_kind kind;       /* what who comes in here becomes */
	struct loop_source source; /* source.fd is borrowed */
	struct loop_timer timer;   /* ends a pause in accepting */
	bool refusing, pausing;    /* troubles are told once, when they begin */
	struct peer *seat;         /* of holders */
	struct client *holder;     /* who has the seat, NULL if nobody */
	bool taken;                /* the seat has had a holder, and is on the roster */
};

struct server {
	struct server_config config;
	const struct log *log;
	struct door members, observers;
	struct door *seats; /* config.n_seats */
	struct loop_work send_work;
	struct loop_timer retry_timer; /* for the starved */
	struct loop_timer stall_timer; /* for the first of the full */
	struct list fresh, ready, idle, full, starved;

	struct roster roster;
	struct ids *ids;
	uint32_t n_members;    /* clients whose id is not a seat's */
	struct peer *prepared; /* the next of them */
	int spare_fd;          /* given up for a moment to refuse a client when there is no other */

	struct pace warnings; /* that clients can cause */
	struct pace news;     /* who came and went */

	unsigned released; /* announced ids given back since they were counted */
	bool warned_of_ids;
	uint64_t starving_since; /* clock_now(); 0 unless somebody starves */
};

/* ---- server.c -------------------------------------------------------------------------------- */

/* What the next client through the door needs is there, or -errno: why it has to be refused. */
int server_prepare(struct door *door);
/* Make a client of the socket, which is taken over if that succeeds. After server_prepare(). */
int server_admit(struct door *door, int socket);

/* It closed its end. */
void client_left(struct client *client);
/* We close ours. */
void client_cut(struct client *client, const char *reason);
/* Something came from it, or its socket takes more. */
void client_event(struct loop_source *source, uint32_t events);

/* ---- door.c ---------------------------------------------------------------------------------- */

int door_open(struct door *door, struct server *server, enum peer_kind kind, int listen_fd);
/* Harmless if it was never opened. */
void door_close(struct door *door);

/* ---- sending.c ------------------------------------------------------------------------------- */

static inline struct client *
client_at(struct list *link)
{
	return container_of(link, struct client, link);
}

/* Somebody joined or left: those who were up to date are not any more. */
void server_roster_changed(struct server *server);
/* There is somebody who has something to be told. */
void server_send_later(struct server *server);
/* Its full socket takes more. */
void client_resume(struct client *client);
/* Has nobody been able to take anything, for longer than `limit`? */
bool server_is_stuck(const struct server *server, uint64_t limit);

#endif
