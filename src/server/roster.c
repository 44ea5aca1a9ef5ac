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

/* ---- the log --------------------------------------------------------------------------------- */

/* Take an event off the log. Cursors that stood on it stand before it then. */
static void
unlink_event(struct roster *roster, struct event *event)
{
	list_for_each (link, &roster->readers) {
		struct peer *reader = peer_at(link);

		if (reader->cursor == &event->link)
			reader->cursor = event->link.prev;
		else if (reader->cursor->next == &event->link)
			reader->vector = 0; /* it was in the middle of it */
	}
	list_remove(&event->link);
}

/* Nobody has to hear of a left peer any more. */
static void
forget(struct roster *roster, struct peer *peer)
{
	release_slot(roster, peer->slot);
	free(peer);
}

static void
pay(struct roster *roster, struct peer *left)
{
	if (--left->owed > 0)
		return;
	unlink_event(roster, &left->leave);
	forget(roster, left);
}

/* ---- the roster ------------------------------------------------------------------------------ */

void
roster_init(struct roster *roster, int memory_fd, unsigned n_vectors)
{
	*roster = (struct roster){.memory_fd = memory_fd, .n_vectors = n_vectors};
	list_init(&roster->log);
	list_init(&roster->readers);
}

void
roster_done(struct roster *roster)
{
	while (!list_empty(&roster->readers))
		roster_leave(roster, peer_at(roster->readers.prev));
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
	if (r < 0) {
		release_slot(roster, peer->slot);
		return r;
	}
	peer->joined = stamp;
	peer->cursor = &roster->log;
	list_append(&roster->log, &peer->join.link);
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
	peer->left = true;
	list_append(&roster->log, &peer->leave.link);
	return 0;
}

void
roster_leave(struct roster *roster, struct peer *peer)
{
	list_remove(&peer->link);
	(*reader_count(roster, peer))--;

	/* As a reader: peers that left, and of which only this one had still to hear, are
	 * forgotten. */
	for (uint32_t slot = 0;
		slot < roster->n_slots && slot < peer->n_told_words * PEER_WORD_BITS; slot++) {
		struct peer *subject = roster->slots[slot];

		if (subject && subject->left && peer_was_told(peer, subject))
			pay(roster, subject);
	}
	free(peer->told);
	peer->told = NULL;
	peer->n_told_words = 0;

	/* As a subject. */
	peer->left = true;
	peer_close_vectors(peer);
	unlink_event(roster, &peer->join);
	list_for_each (link, &roster->readers)
		peer->owed += peer_was_told(peer_at(link), peer);
	if (peer->owed > 0)
		list_append(&roster->log, &peer->leave.link);
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
		{IVSHMEM_WIRE_MEMORY, roster->memory_fd},
	};
	unsigned n = 0, vector;
	struct list *link;
	int r = peer_reserve_told(peer, roster->n_slots);

	if (r < 0)
		return r;
	for (unsigned i = peer->greeting; i < PEER_GREETING && n < max; i++)
		messages[n++] = greeting[i];

	/* Events that do not concern it are skipped for good: an event never begins to concern
	 * somebody. */
	while (peer->cursor->next != &roster->log &&
		!peer_is_concerned(peer, event_at(peer->cursor->next)))
		peer->cursor = peer->cursor->next;

	vector = peer->vector;
	for (link = peer->cursor->next; link != &roster->log && n < max; link = link->next) {
		struct event *event = event_at(link);

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

unsigned
roster_untold(const struct roster *roster, const struct peer *peer, unsigned max)
{
	unsigned n = PEER_GREETING - peer->greeting, seen = 0;

	for (struct list *link = peer->cursor->next; link != &roster->log && n < max && seen < max;
		link = link->next, seen++)
		if (peer_is_concerned(peer, event_at(link)))
			n += event_at(link)->leave ? 1 : peer_n_messages(event_at(link)->peer);
	n -= peer->vector < n ? peer->vector : n;
	return n < max ? n : max;
}

void
roster_told(struct roster *roster, struct peer *peer, unsigned n)
{
	while (n > 0 && peer->greeting < PEER_GREETING) {
		peer->greeting++;
		n--;
	}
	while (n > 0) {
		struct event *event = event_at(peer->cursor->next);
		struct peer *subject = event->peer;

		if (!peer_is_concerned(peer, event)) {
			peer->cursor = &event->link;
			continue;
		}
		n--;
		if (event->leave) {
			peer->cursor = &event->link;
			peer_clear_told(peer, subject);
			pay(roster, subject);
			continue;
		}
		peer_set_told(peer, subject);
		if (subject != peer && peer->kind != PEER_OBSERVER)
			subject->announced = true;
		if (++peer->vector == peer_n_messages(subject)) {
			peer->cursor = &event->link;
			peer->vector = 0;
		}
	}
}
