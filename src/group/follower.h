/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GROUP_FOLLOWER_H
#define GROUP_FOLLOWER_H

/*
 * Follows the server protocol: messages in, events out. A pure state machine without sockets, clock
 * or memory allocation, which can take any input.
 *
 * Theory of operation
 *
 *	VERSION	 expects 0 without descriptor. A negative errno instead: the server refuses us.
 *	ID	 expects our id, 0 to 65535, without descriptor.
 *	ID_LAST	 expects our id, too, but has the memory already.
 *	MEMORY	 expects -1 with the memory. Peers may be announced before it.
 *	RUNNING	 a number with a descriptor is the next vector of that peer (or of ourselves). A
 *		 number without one means that the peer left.
 *
 * Before QEMU 2.5, servers spoke the dialect of 2010. It has no version; our id is the first
 * message. (A number was a native `long`: on the machines that there were, the same 8 bytes.) If
 * the caller allows it, the follower tells the two apart like this:
 *
 *	first		then		means
 *	0		0 to 65535	version, then id: today's protocol
 *	0		a descriptor	the first number was our id, 0: the dialect of 2010; the
 *					second message is the memory, or a vector
 *	1 to 65535			it is our id: the dialect of 2010
 *	-1 with descriptor		the memory, before our id: the dialect of 2010
 *
 * A server of 2010 sends the memory next to our id, before or after it. So an id without
 * descriptor, which means that a peer left, cannot come there and be taken for ours. From there on
 * the two protocols are the same.
 *
 * On the socket for observers, which have no id, these are different:
 *
 *	VERSION	 expects 65536, which no other client takes for anything.
 *	ID	 expects how many vectors each peer has, 0 to 2048.
 *	MEMORY, RUNNING	 -2 without descriptor, once: all who were there have been announced.
 *
 * The server is not trusted. A message that breaks the order of the greeting, or a number that the
 * protocol does not have, ends the connection, because nobody could tell what the rest of the
 * stream means. A message that only makes no sense (a second memory, our own leave) is reported as
 * FOLLOWER_EVENT_NONSENSE and ignored, as QEMU does. Every descriptor is either in an event or
 * closed.
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
	FOLLOWER_EVENT_NONSENSE, /* to be logged: the sentence is in reterr */
};

struct follower_event {
	enum follower_event_type type;
	uint16_t peer;
	bool identifies; /* this message made our id known, whatever else it means */
	int fd;          /* belongs to the receiver of the event; -1 if none */
};

/* For today's protocol only; for that and the dialect of 2010. */
void follower_init(struct follower *follower);
void follower_init_either(struct follower *follower);
/* For the socket for observers. */
void follower_init_observer(struct follower *follower);

/*
 * Take a message and its descriptor. Returns 0 and the event. On failure the state becomes
 * FOLLOWER_FAILED: -EPROTONOSUPPORT (another version, or refused) or -EPROTO, and a sentence.
 */
int follower_step(struct follower *follower, const struct wire_message *message,
	struct follower_event *ret_event, struct ivshmem_error *reterr);

#endif
