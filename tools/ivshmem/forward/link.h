/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_LINK_H
#define IVSHMEM_LINK_H

/*
 * A link between a stream and a socket, or stdin and stdout. What comes from one side goes to the
 * other, unchanged, in both directions.
 *
 * Theory of operation. Each of the four ends is known to be worth a try, or is not: it becomes so
 * when its descriptor or its channel says so, and ends to be so when a call says EAGAIN. A link that
 * runs copies until nothing is worth a try, or until others should have their turn. Bytes that were
 * taken from one side and found no room at the other wait in the link, and nothing more is taken in
 * that direction until they are gone; so the slower side slows the faster one down.
 *
 * The end of one direction is passed on, and the other one goes on: a program that has said
 * everything still hears the answer. The link has ended when both directions have, or when one side
 * failed. A socket that takes nothing more may have something to be read, which is passed on first.
 */

#include "greeting.h"

#include <base/list.h>

#include <ivshmem/channel.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that wait for room. */
struct waiting {
	char *bytes; /* NULL: none */
	size_t start, end;
};

struct link {
	struct list link;
	struct list busy; /* in the list of those that are to run; else alone */
	uint64_t number;  /* for people */
	char name[64];    /* of the channel */

	/* Of one that says first which channel it wants, until it has said so. */
	bool greets;
	struct greeting greeting;

	struct ivshmem_channel *channel;
	bool may_read, may_write; /* the channel */

	int in, out;
	bool may_in, may_out;
	bool pending;  /* the socket is not connected yet */
	bool hung_up;  /* nobody will read what we write */
	bool blocking; /* stdin and stdout: others have them, too, so they stay blocking */

	struct waiting to_channel, to_out;
	bool in_ended, channel_ended; /* there is nothing more to read */
	bool sent_all, wrote_all;     /* and the other side knows it */
	int out_error; /* why the socket takes nothing more, although there is something; 0: it does */
	uint64_t sent, received; /* bytes to and from the channel */
};

enum link_state {
	LINK_WAITS,
	LINK_RUNS, /* it can do more, after others have had their turn */
	LINK_ENDED,
};

/* Copy in both directions. How it is then; or a negative errno: how a descriptor failed, and
 * `*ret_ours` is true, or how the channel failed (channel.h). */
int link_run(struct link *link, bool *ret_ours);

/* Close everything, and free the link. `broken`: bytes may be missing, and those at both ends should
 * learn that; a socket can tell if it is TCP. */
void link_free(struct link *link, bool broken);

#endif
