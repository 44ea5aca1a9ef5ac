/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_FORWARDING_H
#define IVSHMEM_FORWARDING_H

/*
 * forward and listen: connections of sockets over streams, many at a time.
 *
 * Each connection is a link (link.h). forward takes connections from a socket, and makes a channel
 * for each; listen takes channels, and makes a connection for each. What cannot be made for lack of
 * room or descriptors waits (serving.h).
 */

#include "endpoint.h"
#include "link.h"
#include "serving.h"

#include <base/list.h>

struct forward {
	struct serving serving;
	const char *name;
	struct endpoint endpoint;
	struct ivshmem_channel_options options;

	int socket; /* forward: who comes there is forwarded; -1: nobody comes */
	int held;   /* a connection that waits for room; -1: none */
	/* listen: channels come here. */
	struct ivshmem_channel *listener;
	struct ivshmem_channel *waiting; /* one that waits for a socket or a descriptor */

	bool once; /* one link is all */
	struct list links, busy;
	unsigned n_links;
	uint64_t last_number;
};

/* ---- links.c --------------------------------------------------------------------------------- */

/* Takes the channel and the descriptors over. On failure, closes them. Without a channel, the
 * connection will say which one it wants. `pending`: the socket is not connected yet. */
void forwarding_add_link(
	struct forward *forward, struct ivshmem_channel *channel, int in, int out, bool pending);

/* The link has something to do. */
void forwarding_make_busy(struct forward *forward, struct link *link);

/* Let each of them have its turn. */
void forwarding_run_links(struct forward *forward);

/* ---- arrivals.c ------------------------------------------------------------------------------ */

/* Connections that come to the socket, and channels that come to the listener. */
void forwarding_take_who_comes(struct forward *forward);

/* The channel that waits does not wait any more. */
struct ivshmem_channel *forwarding_take_waiting(struct forward *forward);

#endif
