/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLIENT_UPLINK_H
#define CLIENT_UPLINK_H

/*
 * The connection to a server: the socket, the message being received, and where in the protocol it
 * is. What the events mean for peers, vectors and memory is its user's business.
 */

#include <base/error.h>
#include <client/follower.h>
#include <wire/wire.h>

#include <stdint.h>

struct uplink {
	int socket; /* -1: not connected, or no longer */
	int cancel; /* borrowed; when it is readable, connecting and waiting end with -ECANCELED. -1:
		       nothing cancels */
	struct wire_receiver receiver;
	struct follower follower;
};

/* The protocol of today; see follower_init_either() for the other one. */
void uplink_init(struct uplink *uplink);

/* Connect to the socket `path` by `deadline` (clock_now()). */
int uplink_connect(
	struct uplink *uplink, const char *path, uint64_t deadline, struct error *reterr);

/*
 * Receive one message, without blocking. Returns 0 and what it means, -EAGAIN if there is none, or
 * what makes the connection useless. A descriptor in the event belongs to the caller. With
 * FOLLOWER_EVENT_NONSENSE, `reterr` has the sentence.
 */
int uplink_receive(struct uplink *uplink, struct follower_event *ret_event, struct error *reterr);

/* Wait until there is something to receive (returns 1) or until `deadline` (0); or -ECANCELED. */
int uplink_wait(const struct uplink *uplink, uint64_t deadline);

/* What to do with an event, including its descriptor: 0, or what makes the connection useless. */
typedef int (*uplink_fn)(void *data, const struct follower_event *event, struct error *reterr);

/* Receive until the id and the memory were handled, at most until `deadline`: -ETIMEDOUT. */
int uplink_greet(struct uplink *uplink, uint64_t deadline, uplink_fn handle, void *data,
	struct error *reterr);

/* Harmless if it is closed. The follower keeps its state. */
void uplink_close(struct uplink *uplink);

#endif
