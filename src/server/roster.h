/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_ROSTER_H
#define SERVER_ROSTER_H

/*
 * Who is there, and what each of them has still to be told.
 *
 * Theory of operation
 *
 * All peers read one log of events, "P joined" and "P left", in the order in which they happened.
 * Each peer has a cursor into it: the last event that it has been told of. There are no queues per
 * peer, so a peer that does not read costs no memory, however much happens meanwhile.
 *
 *	log:   join 0 ── join 1 ── join 4 ── left 2 ── join 5
 *	                    ▲                   ▲         ▲
 *	               peer 5 (new)     peer 1 (slow)   peers 0, 4 (up to date)
 *
 * A join stays on the log as long as its peer is present, because it is part of what a newcomer is
 * told: a newcomer's cursor starts at the head and finds the others in the order in which they
 * came, and itself last. When a peer leaves, its join is taken off. Its "left" is put on for those
 * who were told that it joined, and is taken off when the last of them has read it. Who was told of
 * whom is a bit set in each peer, indexed by the small number (slot) that a peer has for this
 * purpose. So:
 *
 *	- nobody hears of a join after its peer left, nor that a peer left of which it never heard;
 *	- the log holds one event per present peer, and per left peer that a slow reader still
 *	  believes present;
 *	- eventfds are closed when their peer leaves, whoever has not read about them yet.
 *
 * Two more kinds of peers are made of the same parts.
 *
 * An observer reads the log and is the subject of nothing that others are told. Where a newcomer
 * finds itself on the log, it finds a message that says that it knows everybody now.
 *
 * A seat is an id that belongs to whoever comes to a certain socket, one at a time: its holder.
 * When a holder has left and another comes, clients that were told of the first must not be told of
 * the same id again (ids.h). So they are told of the seat, which has the eventfds and never leaves,
 * while the holder is a peer that borrows them, and of which only observers, and itself, are told:
 *
 *	is told of	members		seats			holders		observers
 *	a member	yes		yes			no		no
 *	a holder	yes		all but its own		itself		no
 *	an observer	yes		no			yes		itself
 *
 * This is a data structure: no sockets, no clock. Descriptors pass through as numbers, except that
 * roster_leave() and peer_free() close the peer's eventfds.
 */

#include <base/list.h>
#include <wire/wire.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer;

enum peer_kind { PEER_MEMBER, PEER_SEAT, PEER_HOLDER, PEER_OBSERVER };

struct event {
	struct list link; /* roster::log */
	struct peer *peer;
	bool leave;
};

struct peer {
	enum peer_kind kind;
	uint16_t id; /* not of an observer */
	unsigned n_vectors;
	int *vectors;      /* eventfds, owned; a holder's are its seat's */
	struct peer *seat; /* a holder's */
	uint64_t joined;   /* ids_stamp() of the moment it joined */
	bool announced;    /* somebody else was told of it, who must not be told of its id again */
	bool left;         /* not present any more; lives until `owed` is 0 */

	/* as a subject of events */
	uint32_t slot;
	struct event join, leave;
	uint32_t owed; /* peers that were told of it and not yet that it left; counted once it has
			  left */

	/* as a reader of events */
	struct list link;    /* roster::readers, in order of joining */
	unsigned greeting;   /* messages of the greeting that were sent: version, id, memory */
	struct list *cursor; /* the last event told, or the log's head */
	unsigned vector;     /* messages sent of the event after it, a join */
	uint64_t *told;      /* bit per slot: was told of its peer and not yet that it left */
	uint32_t n_told_words;
};

struct roster {
	int memory_fd;       /* borrowed */
	unsigned n_vectors;  /* of each peer, as observers are told */
	struct list log;     /* event::link */
	struct list readers; /* peer::link, all but seats; longest present first */
	uint32_t n_present;  /* of the readers, those that have an id */
	uint32_t n_observers;
	struct peer **slots; /* NULL where free */
	uint32_t n_slots;
	uint32_t first_free; /* no slot below it is free */
};

void roster_init(struct roster *roster, int memory_fd, unsigned n_vectors);
/* All peers leave. Seats remain their maker's, to be given to peer_free() afterwards. */
void roster_done(struct roster *roster);

/*
 * A peer with `n_vectors` eventfds, not yet on a roster. -EMFILE, -ENFILE, -ENOMEM.
 * peer_free() is for one that never joined; NULL is allowed.
 */
int peer_new(struct peer **ret_peer, uint16_t id, unsigned n_vectors);
int peer_new_seat(struct peer **ret_peer, uint16_t id, unsigned n_vectors);
int peer_new_holder(struct peer **ret_peer, struct peer *seat);
int peer_new_observer(struct peer **ret_peer);
struct peer *peer_free(struct peer *peer);

/*
 * The peer joins: everybody whom that concerns, itself included, has something to be told. A holder
 * joins after its seat, which joins once and is there for good. -ENOMEM.
 */
int roster_join(struct roster *roster, struct peer *peer, uint64_t stamp);

/* The peer leaves and must not be used any more: the roster frees it when nobody needs to be told
 * any more. */
void roster_leave(struct roster *roster, struct peer *peer);

/*
 * The peer that has been present longest, NULL if nobody is, and its stamp, then UINT64_MAX. An
 * observer is nobody here: it takes an id again.
 */
const struct peer *roster_oldest_peer(const struct roster *roster);
uint64_t roster_oldest(const struct roster *roster);

/*
 * What `peer` is to be told next, at most `max` messages, in order; returns how many, 0 if it is up
 * to date. The descriptors are borrowed. The same again until roster_told() says how many of them
 * were sent. -ENOMEM if the bookkeeping for it cannot be had; the peer cannot be served then.
 */
int roster_next(
	struct roster *roster, struct peer *peer, struct wire_message *messages, unsigned max);
void roster_told(struct roster *roster, struct peer *peer, unsigned n);

#endif
