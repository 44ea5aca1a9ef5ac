/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_DOOR_H
#define VFIO_USER_DOOR_H

/*
 * Where VMMs wait for the one place that there is, until they are let in or sent away.
 *
 * Theory of operation. A visitor is silent until its first message is complete. The door reads
 * nothing: it only looks at what waits in the socket.
 *
 *	accept ---> silent --- first message complete ---> waiting --- place free ---> let in
 *		      |                                       |
 *		      | DOOR_PATIENCE over, or crowded        | grace over, or crowded
 *		      v                                       v
 *		   sent away                             told EBUSY
 *
 * So a visitor that connects and sends nothing, or half a message, never gets the place. A visitor
 * that speaks while another VMM has the place waits for a moment, because that VMM may be a process
 * that is being killed: a VMM with much memory takes a second or more to die, and the kernel closes
 * its sockets last.
 *
 * A VMM always gets an answer before it is sent away, because a reset of the connection kills QEMU.
 */

#include <base/clock.h>
#include <loop/loop.h>
#include <socket/process.h>

#include <stdbool.h>
#include <stdint.h>

struct pace;

/* Visitors at the same time. One more takes the place of the silent one that has been there
 * longest. If all wait, it takes the place of the one that has waited longest. */
#define DOOR_VISITORS 8

#define DOOR_PATIENCE (10 * NSEC_PER_SEC)

/* QEMU waits 5 s for an answer. */
#define DOOR_GRACE (3 * NSEC_PER_SEC)

/* The place behind the door: */
enum door_state {
	DOOR_OPEN,   /* free */
	DOOR_CLOSED, /* taken */
	DOOR_SOON,   /* taken, but about to be free: refuse nobody now */
};

struct visitor {
	struct door *door;
	struct loop_source source; /* source.fd is owned while it is watched, else -1 */
	struct loop_timer timer;
	struct process who;
	bool has_spoken;
	uint64_t since; /* when it came, or spoke; a number that only grows */
};

struct door {
	struct loop *loop;
	struct pace *complaints;
	uint64_t grace_ns;
	bool listener_lasts; /* others go on using the listening socket after us */
	enum door_state (*state)(void *data);
	/* Take *socket over and serve it. `who` (borrowed) is at its other end. */
	void (*enter)(int *socket, const struct process *who, void *data);
	void *data;

	struct loop_source listener; /* source.fd is borrowed */
	struct loop_timer pause;     /* ends a pause in accepting */
	struct visitor visitors[DOOR_VISITORS];
	uint64_t clock; /* of `since` */
};

/* The members up to `data` are set. */
void door_init(struct door *door);

/* Send everybody away, and stop listening. */
void door_done(struct door *door);

/* Accept visitors at `socket`, which listens. 0 or a negative errno. */
int door_listen(struct door *door, int socket);

/* Add a visitor on this socket, which is taken over. */
void door_add(struct door *door, int *socket);

/* The state has changed: let in the visitor that has waited longest, if the place is free. */
void door_look(struct door *door);

#endif
