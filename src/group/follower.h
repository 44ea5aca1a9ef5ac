/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GROUP_FOLLOWER_H
#define GROUP_FOLLOWER_H

/*
 * Follows the server protocol: messages in, events out. A pure state machine without sockets, clock
 * or memory allocation, so that it can be fed with anything.
 *
 * Theory of operation
 *
 *	VERSION	 expects 0 without descriptor. A negative errno instead is our server's refusal.
 *	ID	 expects our id, 0 to 65535, without descriptor.
 *	ID_LAST	 expects our id as well, but has the memory already.
 *	MEMORY	 expects -1 with the memory; peers may be announced before it.
 *	RUNNING	 a number with a descriptor is the next vector of that peer (ourselves included), one
 *		 without means that the peer left.
 *
 * Before QEMU 2.5, servers spoke the dialect of 2010: no version, our id is the first message. (A
 * number was a native `long`: on the machines that there were, the same 8 bytes.) Where it is
 * allowed, what arrives tells the two apart:
 *
 *	first		then		means
 *	0		0 to 65535	version, then id: today's protocol
 *	0		a descriptor	the first number was our id, 0: the dialect of 2010; the
 *					second message is the memory, or a vector
 *	1 to 65535			it is our id: the dialect of 2010
 *	-1 with descriptor		the memory, before our id: the dialect of 2010
 *
 * A server of 2010 sends the memory next to our id, before or after it, so that there is no id without
 * descriptor, a peer that left, to be taken for ours. From there on the two are the same.
 *
 * On the socket for observers, who have no id, these are different:
 *
 *	VERSION	 expects 65536, which nobody else takes for anything.
 *	ID	 expects how many vectors each peer has, 0 to 2048.
 *	MEMORY, RUNNING	 -2 without descriptor, once, means that all who were there were announced.
 *
 * The server is not trusted. What breaks the order of the greeting, and a number that is none of
 * the protocol's, ends the connection: there is no telling what the rest of the stream would mean.
 * What is merely senseless (a second memory, our own leaving) is reported as FOLLOWER_NONSENSE and
 * ignored, as QEMU does. Every descriptor is either handed out in an event or closed.
 */

#include <wire/wire.h>

#include <stdbool.h>
#include <stdint.h>

struct ivshmem_error;

enum follower_state {
	FOLLOWER_VERSION,
	FOLLOWER_ID,
	FOLLOWER_ID_LAST,
	FOLLOWER_MEMORY,
	FOLLOWER_RUNNING,
	FOLLOWER_FAILED
};

struct follower {
	enum follower_state state;
	bool identified;    /* the id is known; never if we observe */
	uint16_t id;        /* ours */
	unsigned n_vectors; /* of each peer, from FOLLOWER_MEMORY on, if we observe */
	bool observes;
	bool complete; /* we observe, and all who were there were announced */
	bool either;   /* the dialect of 2010 is allowed */
	bool is_2010;
};

enum follower_event_type {
	FOLLOWER_EVENT_NONE,     /* understood, nothing to do */
	FOLLOWER_EVENT_MEMORY,   /* fd is the shared memory */
	FOLLOWER_EVENT_VECTOR,   /* fd is the next vector of peer */
	FOLLOWER_EVENT_LEFT,     /* peer left; it may be one that was never announced */
	FOLLOWER_EVENT_NONSENSE, /* to be told to somebody: the sentence is in reterr */
};

struct follower_event {
	enum follower_event_type type;
	uint16_t peer;
	bool identifies; /* with this message, whatever else it means, our id has become known */
	int fd;          /* belongs to the receiver of the event; -1 if none */
};

/* For today's protocol only; for that and the dialect of 2010. */
void follower_init(struct follower *follower);
void follower_init_either(struct follower *follower);
/* For the socket for observers. */
void follower_init_observer(struct follower *follower);

/*
 * Take a message and its descriptor. Returns 0 and the event, or ends in FOLLOWER_FAILED with
 * -EPROTONOSUPPORT (another version, or refused) or -EPROTO and a sentence.
 */
int follower_step(struct follower *follower, const struct wire_message *message,
	struct follower_event *ret_event, struct ivshmem_error *reterr);

#endif
