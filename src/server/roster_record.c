/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The record of a roster (record.h):
 *
 *	vectors of each peer, as observers are told
 *	1 if some have a circle, or 0
 *	how many events are on the log
 *	each event, in their order:
 *		0 a join, 1 a leave
 *		kind of the peer
 *		kind of its view, and the number of its circle, or 0
 *		seat		of a holder that joined: the number of its event
 *		id		0 for an observer
 *		and if it joined:
 *			stamp
 *			announced	of a member or a seat
 *			vectors		of a member or a seat; their eventfds go along
 *	each reader, in the order of their joins:
 *		greeting
 *		1 if it gets the memory for reading only, or 0
 *		cursor		how many events of the whole log are behind it
 *		vector
 *		how many leaves it will be told of
 *		each of them: the number of its event
 *
 * Who was told of which present peer is not written. It follows from the cursors: a reader was told
 * of each join behind its cursor that concerns it, and of one more if it is in the middle of it.
 */
#include <server/roster.h>

#include <ivshmem/abi.h>

#include <server/record.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_NAME    "roster"
#define RECORD_VERSION 2

/* Members and seats have eventfds of their own, and an id that nobody else has. */
static bool
has_vectors(const struct peer *peer)
{
	return peer->kind == PEER_MEMBER || peer->kind == PEER_SEAT;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* How many events there are up to this place on the log; 0 is its head. */
static uint64_t
count_to(const struct roster *roster, const struct list *place)
{
	uint64_t n = 0;

	for (; place != &roster->log; place = place->prev)
		n++;
	return n;
}

/* How many events of the log the reader has behind it. Of two cursors, the one that is further counts:
 * everything before it that the other log has is behind the other one. */
static uint64_t
count_passed(const struct roster *roster, const struct peer *reader)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < PEER_CURSORS; i++) {
		const struct cursor *cursor = &reader->cursors[i];
		uint64_t n;

		if (cursor->at == cursor->log)
			continue;
		n = count_to(roster, cursor->part
					     ? &container_of(cursor->at, struct event, part)->link
					     : cursor->at);
		if (n > most)
			most = n;
	}
	return most;
}

static void
write_event(const struct roster *roster, const struct event *event, struct record *record)
{
	const struct peer *peer = event->peer;

	record_put(record, event->leave);
	record_put(record, peer->kind);
	record_put(record, peer->view.kind);
	record_put(record, peer->view.circle);
	if (peer->kind == PEER_HOLDER && !event->leave)
		record_put(record, count_to(roster, &peer->seat->join.link) - 1);
	record_put(record, peer->id);
	if (event->leave)
		return;
	record_put(record, peer->joined);
	if (has_vectors(peer)) {
		record_put(record, peer->announced);
		record_put(record, peer->n_vectors);
		record_put_fds(record, peer->vectors, peer->n_vectors);
	}
}

static bool
is_owed(const struct peer *reader, const struct event *event)
{
	return event->leave && peer_was_told(reader, event->peer);
}

static void
write_reader(const struct roster *roster, const struct peer *reader, struct record *record)
{
	uint64_t n = 0, number = 0;

	record_put(record, reader->greeting);
	record_put(record, reader->read_only);
	record_put(record, count_passed(roster, reader));
	record_put(record, roster_begun(reader, roster_peek(reader)));
	list_for_each (link, &roster->log)
		n += is_owed(reader, event_at(link));
	record_put(record, n);
	list_for_each (link, &roster->log) {
		if (is_owed(reader, event_at(link)))
			record_put(record, number);
		number++;
	}
}

int
roster_write(const struct roster *roster, struct record *ret_record)
{
	record_begin(ret_record, RECORD_NAME, RECORD_VERSION);
	record_put(ret_record, roster->n_vectors);
	record_put(ret_record, roster->split);
	record_put(ret_record, count_to(roster, roster->log.prev));
	list_for_each (link, &roster->log)
		write_event(roster, event_at(link), ret_record);
	list_for_each (link, &roster->readers)
		write_reader(roster, peer_at(link), ret_record);
	return record_end(ret_record);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct reading {
	struct record_reader in;
	struct roster *roster; /* the peer of event number n has the slot n */
	uint64_t n_events;
	uint64_t first_stamp, now; /* the stamp of the next join is between them */
	/* ids that were seen: of members and seats, of the seats of holders */
	bool used[IVSHMEM_MAX_ID + 1], held[IVSHMEM_MAX_ID + 1];
};

/* Only one may have this id. */
static void
claim(struct reading *reading, bool *ids, uint16_t id, const char *twice)
{
	if (ids[id])
		record_refuse(&reading->in, twice);
	ids[id] = true;
}

static void
read_seat(struct reading *reading, struct peer *holder)
{
	struct record_reader *in = &reading->in;
	struct peer *seat = reading->roster->slots[record_get(in, "seat", 0, in->number)];

	if (seat->kind != PEER_SEAT) {
		record_refuse(in, "that peer is no seat");
		return;
	}
	claim(reading, reading->held, seat->id, "its seat has another holder");
	if (holder->view.kind != seat->view.kind || holder->view.circle != seat->view.circle)
		record_refuse(in, "its seat has another view");
	holder->seat = seat;
	holder->vectors = seat->vectors;
	holder->n_vectors = seat->n_vectors;
}

/* The descriptors are numbers for now: they belong to the peer when all of the record is right. */
static void
read_vectors(struct reading *reading, struct peer *peer)
{
	struct record_reader *in = &reading->in;
	size_t left = record_fds_left(in);
	unsigned n = (unsigned)record_get(in, "number of vectors", 0,
		left < IVSHMEM_MAX_VECTORS ? left : IVSHMEM_MAX_VECTORS);

	if (n == 0)
		return;
	peer->vectors = calloc(n, sizeof(*peer->vectors));
	if (!peer->vectors) {
		in->error = -ENOMEM;
		return;
	}
	memcpy(peer->vectors, record_get_fds(in, n), n * sizeof(*peer->vectors));
	peer->n_vectors = n;
}

static void
read_join(struct reading *reading, struct peer *peer)
{
	struct record_reader *in = &reading->in;
	uint16_t first = 0, last = peer->kind == PEER_OBSERVER ? 0 : IVSHMEM_MAX_ID;

	if (peer->kind == PEER_HOLDER)
		read_seat(reading, peer);
	if (peer->seat)
		first = last = peer->seat->id;
	peer->id = (uint16_t)record_get(in, "id", first, last);
	peer->joined = record_get(in, "stamp", reading->first_stamp, reading->now);
	reading->first_stamp = peer->joined + 1;
	if (has_vectors(peer)) {
		claim(reading, reading->used, peer->id, "another peer has its id");
		peer->announced = record_get(in, "mark of announcement", 0, 1);
		read_vectors(reading, peer);
	}
}

static void
read_leave(struct reading *reading, struct peer *peer)
{
	struct record_reader *in = &reading->in;

	if (peer->kind == PEER_SEAT || peer->kind == PEER_OBSERVER)
		record_refuse(in, "nobody is told that a peer of this kind left");
	peer->id = (uint16_t)record_get(in, "id", 0, IVSHMEM_MAX_ID);
}

static struct view
read_view(struct reading *reading, enum peer_kind kind)
{
	struct record_reader *in = &reading->in;
	bool split = reading->roster->split && kind != PEER_OBSERVER;
	struct view view = {.kind = (enum view_kind)record_get(
				    in, "kind of view", VIEW_ALL, split ? VIEW_CIRCLE : VIEW_ALL)};

	view.circle =
		(uint32_t)record_get(in, "circle", 0, view.kind == VIEW_CIRCLE ? UINT32_MAX : 0);
	return view;
}

static void
read_event(struct reading *reading)
{
	struct record_reader *in = &reading->in;
	struct roster *roster = reading->roster;
	bool leave = record_get(in, "mark of a leave", 0, 1);
	enum peer_kind kind = (enum peer_kind)record_get(in, "kind", PEER_MEMBER, PEER_OBSERVER);
	struct view view = read_view(reading, kind);
	struct peer *peer = peer_new_blank(kind);

	if (peer)
		peer->view = view;
	if (!peer || (leave ? roster_add_left(roster, peer) : roster_join(roster, peer, 0)) < 0) {
		peer_free(peer);
		in->error = -ENOMEM;
	} else if (leave) {
		read_leave(reading, peer);
	} else {
		read_join(reading, peer);
	}
}

/* The reader was told of this join, at least of its first vector. */
static void
tell(struct reading *reading, struct peer *reader, struct event *event)
{
	struct peer *subject = event->peer;

	if (reader->greeting < PEER_GREETING)
		record_refuse(&reading->in, "it was told of a peer before it was greeted");
	if (has_vectors(subject) && subject != reader && reader->kind != PEER_OBSERVER &&
		!subject->announced)
		record_refuse(
			&reading->in, "it was told of a peer that has no mark of announcement");
	peer_set_told(reader, subject);
}

/* The reader has `n` events of the log behind it. */
static void
read_passed(struct reading *reading, struct peer *reader, uint64_t n)
{
	struct event *event = roster_peek(reader);
	uint64_t last = 0;

	/* The number of an event is its place on the log. */
	while (event && event->number <= n) {
		last = event->number;
		if (peer_is_concerned(reader, event))
			tell(reading, reader, event);
		roster_pass(reader);
		event = roster_peek(reader);
	}
	if (last != n)
		record_refuse(&reading->in, "its cursor is at a peer that it does not see");
}

static void
read_owed(struct reading *reading, struct peer *reader, uint64_t cursor)
{
	struct record_reader *in = &reading->in;
	uint64_t n = record_get(in, "number of leaves", 0, reading->n_events - cursor);
	/* Whoever left before it came is none of its business. */
	uint64_t first = cursor > reader->slot ? cursor : reader->slot;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t number = record_get(in, "leave", first, reading->n_events - 1);
		struct peer *subject = in->error < 0 ? NULL : reading->roster->slots[number];

		if (!subject)
			return;
		if (!subject->left || reader->greeting < PEER_GREETING ||
			!peer_sees(reader, subject) ||
			(subject->kind == PEER_HOLDER && reader->kind != PEER_OBSERVER))
			record_refuse(
				in, "it was never told of a peer that it is to hear the leave of");
		peer_set_told(reader, subject);
		first = number + 1;
	}
}

static void
read_reader(struct reading *reading, struct peer *reader)
{
	struct record_reader *in = &reading->in;
	struct roster *roster = reading->roster;
	uint64_t cursor, last_vector = 0;
	struct event *next;

	if (peer_reserve_told(reader, roster->n_slots) < 0) {
		in->error = -ENOMEM;
		return;
	}
	reader->greeting = (unsigned)record_get(in, "greeting", 0, PEER_GREETING);
	reader->read_only = record_get(in, "mark of a reader", 0, 1);
	cursor = record_get(in, "cursor", 0, reading->n_events);
	read_passed(reading, reader, cursor);
	next = roster_peek(reader);
	if (next && peer_is_concerned(reader, next))
		last_vector = peer_n_messages(next->peer) - 1;
	reader->vector = (unsigned)record_get(in, "vector", 0, last_vector);
	if (next && reader->vector > 0) {
		reader->begun = next->number;
		tell(reading, reader, next);
	}
	read_owed(reading, reader, cursor);
}

static void
read_all(struct reading *reading)
{
	struct record_reader *in = &reading->in;
	struct roster *roster = reading->roster;

	roster->n_vectors = (unsigned)record_get(in, "number of vectors", 0, IVSHMEM_MAX_VECTORS);
	roster->split = record_get(in, "mark of circles", 0, 1);
	reading->n_events = record_get(in, "number of events", 0, UINT32_MAX);
	in->part = "event";
	for (; in->number < reading->n_events && in->error == 0; in->number++)
		read_event(reading);
	in->part = "reader";
	in->number = 0;
	list_for_each (link, &roster->readers) {
		if (in->error == 0)
			read_reader(reading, peer_at(link));
		in->number++;
	}
	in->part = "event";
	in->number = 0;
	list_for_each (link, &roster->log) {
		if (event_at(link)->leave && event_at(link)->peer->owed == 0)
			record_refuse(in, "nobody is to be told of this leave");
		in->number++;
	}
}

/* Free what was read of a wrong record. The descriptors remain the caller's. */
static void
drop_all(struct roster *roster)
{
	for (uint32_t slot = 0; slot < roster->n_slots && roster->slots[slot]; slot++) {
		struct peer *peer = roster->slots[slot];

		if (!peer->seat)
			free(peer->vectors);
		free(peer->told);
		free(peer);
	}
	free(roster->slots);
	circles_done(&roster->circles);
	roster_init(roster, roster->memory_fd, 0);
}

int
roster_read(struct roster *roster, const struct record *record, uint64_t now, int memory_fd,
	struct ivshmem_error *reterr)
{
	struct reading *reading = calloc(1, sizeof(*reading));
	int r;

	roster_init(roster, memory_fd, 0);
	if (!reading)
		return -ENOMEM;
	reading->roster = roster;
	reading->first_stamp = 1;
	reading->now = now;
	record_open(&reading->in, record, RECORD_NAME, RECORD_VERSION, reterr);
	read_all(reading);
	r = record_close(&reading->in);
	if (r < 0)
		drop_all(roster);
	free(reading);
	return r;
}
