/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_PEER_H
#define SERVER_PEER_H

/*
 * The peers on a roster: what they are, which of them is told of which, and who was told of whom.
 *
 * A member has an id and eventfds. The other kinds are made of the same parts.
 *
 * An observer is told of others, and nobody is told of it. Where a newcomer finds itself on the
 * log, an observer finds a message that says that it knows everybody now.
 *
 * A seat is an id that belongs to a socket. The client that comes there is its holder; there is one
 * at a time. When a holder has left and another comes, clients that were told of the first must not
 * be told of the same id again (ids.h). So they are told of the seat, which has the eventfds and
 * never leaves. The holder is a peer that borrows the eventfds, and only observers, and the holder
 * itself, are told of it:
 *
 *	is told of	members		seats			holders		observers
 *	a member	yes		yes			no		no
 *	a holder	yes		all but its own		itself		no
 *	an observer	yes		no			yes		itself
 *
 * With circles (circle.h), a "yes" holds only for those that see each other. Observers see all.
 */

#include <base/list.h>
#include <server/circle.h>

#include <stdbool.h>
#include <stdint.h>

#define PEER_WORD_BITS 64
#define PEER_GREETING  3 /* messages: version, id or number of vectors, memory */

enum peer_kind { PEER_MEMBER, PEER_SEAT, PEER_HOLDER, PEER_OBSERVER };

struct event {
	struct list link;    /* roster::log */
	struct list cursors; /* cursor::link, of those that stand on it there */
	struct list part;    /* circle::log of its peer, or roster::shared if it has no circle */
	struct list part_cursors; /* the same there */
	uint64_t number;          /* grows along the log, from 1 */
	struct peer *peer;
	bool leave;
};

/* Where a reader is on a log. */
struct cursor {
	struct list link; /* of the event that it stands on */
	struct list *at;  /* the last event told, or the log's head */
	struct list *log; /* NULL: it has no such log */
	bool part;        /* a log of parts */
};

/* A reader without a circle reads one log, and another one that of its circle and what all share. */
#define PEER_CURSORS 2

struct peer {
	enum peer_kind kind;
	uint16_t id; /* not of an observer */
	unsigned n_vectors;
	int *vectors;          /* eventfds, owned; a holder's are its seat's */
	struct peer *seat;     /* a holder's */
	struct view view;      /* before it joins */
	struct circle *circle; /* from then on; NULL: it sees everybody */
	bool read_only;        /* gets the memory for reading only */
	uint64_t joined;       /* ids_stamp() of the moment it joined */
	bool announced; /* somebody else was told of it, and must not be told of its id again */
	bool left;      /* not present any more; it is freed when `owed` is 0 */

	/* as a subject of events */
	uint32_t slot;
	struct event join, leave;
	uint32_t owed; /* peers that were told of it, and not yet that it left */

	/* as a reader of events */
	struct list link;  /* roster::readers, in order of joining */
	unsigned greeting; /* messages of the greeting that were sent: version, id, memory */
	struct cursor cursors[PEER_CURSORS];
	uint64_t begun;  /* the number of the event, a join, that it was told a part of */
	unsigned vector; /* messages sent of that */
	uint64_t *told;  /* a bit for each slot: was told of its peer, and not that it left */
	uint32_t n_told_words;
};

/*
 * A peer with `n_vectors` eventfds, not yet on a roster. -EMFILE, -ENFILE, -ENOMEM.
 * peer_free() is for one that never joined; NULL is allowed.
 */
int peer_new(struct peer **ret_peer, uint16_t id, unsigned n_vectors);
int peer_new_seat(struct peer **ret_peer, uint16_t id, unsigned n_vectors);
int peer_new_holder(struct peer **ret_peer, struct peer *seat);
int peer_new_observer(struct peer **ret_peer);
struct peer *peer_free(struct peer *peer);
/* One without eventfds and without an id. NULL: no memory. */
struct peer *peer_new_blank(enum peer_kind kind);
/* Close them, unless they are its seat's. */
void peer_close_vectors(struct peer *peer);

static inline struct event *
event_at(struct list *link)
{
	return container_of(link, struct event, link);
}

static inline struct peer *
peer_at(struct list *link)
{
	return container_of(link, struct peer, link);
}

/* How many messages tell of a join: one for each vector, or that an observer knows all. */
unsigned peer_n_messages(const struct peer *subject);
/* Do the circles let `reader` see it? */
bool peer_sees(const struct peer *reader, const struct peer *subject);
/* Will `reader` hear of the event at all? */
bool peer_is_concerned(const struct peer *reader, const struct event *event);

/* Was `reader` told of the peer, and not yet that it left? */
bool peer_was_told(const struct peer *reader, const struct peer *subject);
void peer_set_told(struct peer *reader, struct peer *subject);
void peer_clear_told(struct peer *reader, struct peer *subject);
/* Make room for all slots before something is sent, because peer_set_told() must not fail.
 * -ENOMEM. */
int peer_reserve_told(struct peer *reader, uint32_t n_slots);

#endif
