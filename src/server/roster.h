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
 * A join stays on the log as long as its peer is present, because newcomers need it: the cursor of
 * a newcomer starts at the head and finds the others in the order in which they came, and itself
 * last. When a peer leaves, its join is taken off. Its "left" is put on for the peers that were
 * told that it joined, and is taken off when the last of them has read it. Each peer has a bit for
 * each other one that it was told of; a peer has a small number, its slot, to find its bit. So:
 *
 *	- nobody hears that a peer joined when it has left already, and nobody hears that a peer left
 *	  without having heard that it joined;
 *	- the log has one event for each peer that is present, and one for each peer that left while
 *	  a slow reader still believes it present;
 *	- eventfds are closed when their peer leaves, whoever has not read about them yet.
 *
 * peer.h has the kinds of peers, and who is told of which.
 *
 * If not everybody sees everybody, there are more logs, so that nobody has to walk past what does not
 * concern it. Each event is on the log of all, and on the log of its peer's circle, or, if that has
 * none, on the one that all share. A reader without a circle reads the log of all; another one reads
 * that of its circle and the shared one, with a cursor each, in the order of the numbers that events
 * have. An event knows the cursors that stand on it. So what a join or a leave costs depends on how
 * many have to hear of it, and not on how many there are.
 *
 * This is a data structure: no sockets, no clock. Descriptors pass through as numbers, except that
 * roster_leave() and peer_free() close the peer's eventfds.
 */

#include <base/list.h>
#include <server/peer.h>
#include <wire/wire.h>

#include <stdint.h>

struct ivshmem_error;
struct record;

struct roster {
	int memory_fd;      /* borrowed */
	int read_only_fd;   /* the same, for peers that only read it; borrowed */
	unsigned n_vectors; /* of each peer, as observers are told */
	struct list log;    /* event::link */
	uint64_t n_events;  /* that were ever on it */
	struct list shared; /* event::part, of those that have no circle */
	struct circles circles;
	bool split;          /* some have a circle; for the owner to set */
	struct list idle;    /* client::nap, of those that have no circle; for clients.c */
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
 * The peer joins: all whom that concerns, itself included, have something to be told. A holder
 * joins after its seat, which joins once and is there for good. -ENOMEM.
 */
int roster_join(struct roster *roster, struct peer *peer, uint64_t stamp);

/* For roster_read(): a peer that has left, while some have yet to hear of it. -ENOMEM. */
int roster_add_left(struct roster *roster, struct peer *peer);

/* The peer leaves, and must not be used any more: the roster frees it when all who have to have
 * heard of it. */
void roster_leave(struct roster *roster, struct peer *peer);

/*
 * The peer that has been present longest, or NULL; and its stamp, or UINT64_MAX. Observers do not
 * count, because they bear ids that come again.
 */
const struct peer *roster_oldest_peer(const struct roster *roster);
uint64_t roster_oldest(const struct roster *roster);

/*
 * What `peer` is to be told next: at most `max` messages, in order. Returns how many, 0 if it is up
 * to date. The descriptors are borrowed. The next call returns the same, until roster_told() says
 * how many of them were sent. -ENOMEM: there is no memory for the bookkeeping, and the peer cannot
 * be served for now.
 */
int roster_next(
	struct roster *roster, struct peer *peer, struct wire_message *messages, unsigned max);
void roster_told(struct roster *roster, struct peer *peer, unsigned n);

/* The next event on the reader's logs, whether it concerns it or not; NULL if there is none. And how
 * much of the event it was told: messages. */
struct event *roster_peek(const struct peer *reader);
unsigned roster_begun(const struct peer *reader, const struct event *event);
/* Put the reader behind the event that roster_peek() returns. */
void roster_pass(struct peer *reader);

/*
 * Write all of it down, and read it back (record.h): the peers, the log, and who is where on it.
 * The eventfds go along as descriptors.
 *
 * roster_read() makes a roster that is not initialised yet. `now` is the stamp of the ids that
 * belong to it. The roster takes the descriptors over if that succeeds; the seats are on its log,
 * and are the caller's, as they were their maker's. A failure leaves an empty roster: -ENOMEM, and
 * for a record that is wrong -EINVAL or -EPROTONOSUPPORT. That the descriptors are eventfds, and
 * that the ids know of the peers, is for the caller to check.
 */
int roster_write(const struct roster *roster, struct record *ret_record);
int roster_read(struct roster *roster, const struct record *record, uint64_t now, int memory_fd,
	struct ivshmem_error *reterr);

#endif
