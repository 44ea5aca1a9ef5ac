/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/roster.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 64

/* ---- slots ----------------------------------------------------------------------------------- */

static int
take_slot(struct roster *roster, struct peer *peer)
{
	uint32_t slot = roster->first_free;

	while (slot < roster->n_slots && roster->slots[slot])
		slot++;
	if (slot == roster->n_slots) {
		uint32_t n_slots = roster->n_slots ? roster->n_slots * 2 : FIRST_SLOTS;
		struct peer **slots = reallocarray(roster->slots, n_slots, sizeof(struct peer *));

		if (!slots)
			return -ENOMEM;
		memset(slots + roster->n_slots, 0,
			(n_slots - roster->n_slots) * sizeof(struct peer *));
		roster->slots = slots;
		roster->n_slots = n_slots;
	}
	roster->slots[slot] = peer;
	roster->first_free = slot + 1;
	peer->slot = slot;
	return 0;
}

static void
release_slot(struct roster *roster, uint32_t slot)
{
	roster->slots[slot] = NULL;
	if (slot < roster->first_free)
		roster->first_free = slot;
}

/* ---- the logs -------------------------------------------------------------------------------- */

static struct list *
link_of(struct event *event, bool part)
{
	return part ? &event->part : &event->link;
}

static struct event *
event_on(struct list *link, bool part)
{
	return part ? container_of(link, struct event, part) : event_at(link);
}

static void
cursor_set(struct cursor *cursor, struct list *at)
{
	struct event *event;

	cursor->at = at;
	list_remove(&cursor->link);
	if (at == cursor->log)
		return;
	event = event_on(at, cursor->part);
	list_append(cursor->part ? &event->part_cursors : &event->cursors, &cursor->link);
}

static void
cursor_init(struct cursor *cursor, struct list *log, bool part)
{
	cursor->log = cursor->at = log;
	cursor->part = part;
}

static void
append_event(struct roster *roster, struct event *event)
{
	const struct peer *peer = event->peer;

	event->number = ++roster->n_events;
	list_append(&roster->log, &event->link);
	/* Only an observer itself reads of it, and it reads the whole log. */
	if (peer->kind != PEER_OBSERVER)
		list_append(peer->circle ? &peer->circle->log : &roster->shared, &event->part);
}

/* Cursors that stood on it stand before it then. */
static void
unlink_from(struct list *link, struct list *cursors)
{
	list_for_each_safe (item, cursors)
		cursor_set(container_of(item, struct cursor, link), link->prev);
	list_remove(link);
}

static void
unlink_event(struct event *event)
{
	unlink_from(&event->link, &event->cursors);
	unlink_from(&event->part, &event->part_cursors);
}

/* The first event of the reader's logs behind `at`, which is moved to it. NULL: there is none. */
static struct event *
step(const struct peer *reader, struct list *at[PEER_CURSORS])
{
	struct event *first = NULL;
	unsigned which = 0;

	for (unsigned i = 0; i < PEER_CURSORS; i++) {
		const struct cursor *cursor = &reader->cursors[i];
		struct event *event;

		if (!cursor->log || at[i]->next == cursor->log)
			continue;
		event = event_on(at[i]->next, cursor->part);
		if (!first || event->number < first->number) {
			first = event;
			which = i;
		}
	}
	if (first)
		at[which] = link_of(first, reader->cursors[which].part);
	return first;
}

static void
places(const struct peer *reader, struct list *ret_at[PEER_CURSORS])
{
	for (unsigned i = 0; i < PEER_CURSORS; i++)
		ret_at[i] = reader->cursors[i].at;
}

void
roster_pass(struct peer *reader)
{
	struct list *at[PEER_CURSORS];

	places(reader, at);
	step(reader, at);
	for (unsigned i = 0; i < PEER_CURSORS; i++)
		if (at[i] != reader->cursors[i].at)
			cursor_set(&reader->cursors[i], at[i]);
}

struct event *
roster_peek(const struct peer *reader)
{
	struct list *at[PEER_CURSORS];

	places(reader, at);
	return step(reader, at);
}

/* The next event that concerns the reader. Those before it are skipped for good: an event never
 * begins to concern somebody. */
static struct event *
next_event(struct peer *reader)
{
	struct event *event = roster_peek(reader);

	while (event && !peer_is_concerned(reader, event)) {
		roster_pass(reader);
		event = roster_peek(reader);
	}
	return event;
}

unsigned
roster_begun(const struct peer *reader, const struct event *event)
{
	return event && event->number == reader->begun ? reader->vector : 0;
}

/* Nobody has to hear of a left peer any more. */
static void
forget(struct roster *roster, struct peer *peer)
{
	release_slot(roster, peer->slot);
	circle_put(peer->circle);
	free(peer);
}

/* Somebody has heard that the peer left, or left itself. */
static void
settle(struct roster *roster, struct peer *subject)
{
	if (!subject->left || subject->owed > 0)
		return;
	unlink_event(&subject->leave);
	forget(roster, subject);
}

/* ---- the roster ------------------------------------------------------------------------------ */

void
roster_init(struct roster *roster, int memory_fd, unsigned n_vectors)
{
	*roster =
		(struct roster){.memory_fd = memory_fd, .read_only_fd = -1, .n_vectors = n_vectors};
	list_init(&roster->log);
	list_init(&roster->shared);
	list_init(&roster->idle);
	list_init(&roster->readers);
	circles_init(&roster->circles);
}

void
roster_done(struct roster *roster)
{
	while (!list_empty(&roster->readers))
		roster_leave(roster, peer_at(roster->readers.prev));
	/* Those of seats. */
	circles_done(&roster->circles);
	free(roster->slots);
	roster->slots = NULL;
	roster->n_slots = 0;
}

static uint32_t *
reader_count(struct roster *roster, const struct peer *reader)
{
	return reader->kind == PEER_OBSERVER ? &roster->n_observers : &roster->n_present;
}

int
roster_join(struct roster *roster, struct peer *peer, uint64_t stamp)
{
	int r = take_slot(roster, peer);

	if (r < 0)
		return r;
	r = peer_reserve_told(peer, roster->n_slots);
	if (r == 0)
		r = circle_get(&roster->circles, &peer->view, &peer->circle);
	if (r < 0) {
		release_slot(roster, peer->slot);
		return r;
	}
	peer->joined = stamp;
	if (peer->circle) {
		cursor_init(&peer->cursors[0], &roster->shared, true);
		cursor_init(&peer->cursors[1], &peer->circle->log, true);
	} else {
		cursor_init(&peer->cursors[0], &roster->log, false);
	}
	append_event(roster, &peer->join);
	if (peer->kind == PEER_SEAT)
		return 0;
	list_append(&roster->readers, &peer->link);
	(*reader_count(roster, peer))++;
	return 0;
}

int
roster_add_left(struct roster *roster, struct peer *peer)
{
	int r = take_slot(roster, peer);

	if (r < 0)
		return r;
	r = circle_get(&roster->circles, &peer->view, &peer->circle);
	if (r < 0) {
		release_slot(roster, peer->slot);
		return r;
	}
	peer->left = true;
	append_event(roster, &peer->leave);
	return 0;
}

/* Peers that left, and of which only this one had still to hear, are forgotten. */
static void
stop_reading(struct roster *roster, struct peer *peer)
{
	for (uint32_t i = 0; i < peer->n_told_words; i++) {
		while (peer->told[i] != 0) {
			uint32_t bit = (uint32_t)__builtin_ctzll(peer->told[i]);
			struct peer *subject = roster->slots[i * PEER_WORD_BITS + bit];

			peer_clear_told(peer, subject);
			settle(roster, subject);
		}
	}
	free(peer->told);
	peer->told = NULL;
	peer->n_told_words = 0;
	for (unsigned i = 0; i < PEER_CURSORS; i++)
		list_remove(&peer->cursors[i].link);
}

void
roster_leave(struct roster *roster, struct peer *peer)
{
	list_remove(&peer->link);
	(*reader_count(roster, peer))--;
	stop_reading(roster, peer);

	/* As a subject. */
	peer->left = true;
	peer_close_vectors(peer);
	unlink_event(&peer->join);
	if (peer->owed > 0)
		append_event(roster, &peer->leave);
	else
		forget(roster, peer);
}

const struct peer *
roster_oldest_peer(const struct roster *roster)
{
	list_for_each (link, &roster->readers)
		if (peer_at(link)->kind != PEER_OBSERVER)
			return peer_at(link);
	return NULL;
}

uint64_t
roster_oldest(const struct roster *roster)
{
	const struct peer *oldest = roster_oldest_peer(roster);

	return oldest ? oldest->joined : UINT64_MAX;
}

/* Message number `i` of a join. */
static struct wire_message
join_message(const struct peer *subject, unsigned i)
{
	if (subject->kind == PEER_OBSERVER)
		return (struct wire_message){IVSHMEM_WIRE_COMPLETE, -1};
	return (struct wire_message){subject->id, subject->vectors[i]};
}

int
roster_next(struct roster *roster, struct peer *peer, struct wire_message *messages, unsigned max)
{
	bool observes = peer->kind == PEER_OBSERVER;
	const struct wire_message greeting[PEER_GREETING] = {
		{observes ? IVSHMEM_WIRE_OBSERVER : IVSHMEM_WIRE_VERSION, -1},
		{observes ? roster->n_vectors : peer->id, -1},
		{IVSHMEM_WIRE_MEMORY, peer->read_only ? roster->read_only_fd : roster->memory_fd},
	};
	struct list *at[PEER_CURSORS];
	struct event *event;
	unsigned n = 0, vector;
	int r = peer_reserve_told(peer, roster->n_slots);

	if (r < 0)
		return r;
	for (unsigned i = peer->greeting; i < PEER_GREETING && n < max; i++)
		messages[n++] = greeting[i];

	vector = roster_begun(peer, next_event(peer));
	places(peer, at);
	while (n < max) {
		event = step(peer, at);
		if (!event)
			break;
		if (!peer_is_concerned(peer, event))
			continue;
		if (event->leave)
			messages[n++] = (struct wire_message){event->peer->id, -1};
		else
			for (; vector < peer_n_messages(event->peer) && n < max; vector++)
				messages[n++] = join_message(event->peer, vector);
		vector = 0;
	}
	return (int)n;
}

static void
told_of_join(struct peer *peer, const struct event *event)
{
	struct peer *subject = event->peer;

	peer_set_told(peer, subject);
	if (subject != peer && peer->kind != PEER_OBSERVER)
		subject->announced = true;
	peer->vector = roster_begun(peer, event) + 1;
	peer->begun = event->number;
	if (peer->vector == peer_n_messages(subject))
		roster_pass(peer);
}

void
roster_told(struct roster *roster, struct peer *peer, unsigned n)
{
	while (n > 0 && peer->greeting < PEER_GREETING) {
		peer->greeting++;
		n--;
	}
	for (; n > 0; n--) {
		struct event *event = next_event(peer);

		if (event->leave) {
			roster_pass(peer);
			peer_clear_told(peer, event->peer);
			settle(roster, event->peer);
		} else {
			told_of_join(peer, event);
		}
	}
}
