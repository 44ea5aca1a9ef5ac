/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/roster.h>

#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define WORD_BITS 64
#define GREETING  3 /* version, id or number of vectors, memory */

static struct event *
event_at(struct list *link)
{
	return container_of(link, struct event, link);
}

static struct peer *
peer_at(struct list *link)
{
	return container_of(link, struct peer, link);
}

/* ---- who was told of whom -------------------------------------------------------------------- */

static bool
was_told(const struct peer *reader, const struct peer *subject)
{
	uint32_t word = subject->slot / WORD_BITS;

	return word < reader->n_told_words &&
	       (reader->told[word] >> (subject->slot % WORD_BITS) & 1) != 0;
}

/* The bit set must reach every slot in use before something is sent: being told cannot fail
 * afterwards. */
static int
reserve_told(struct peer *reader, uint32_t n_slots)
{
	uint32_t n_words = (n_slots + WORD_BITS - 1) / WORD_BITS;
	uint64_t *told;

	if (n_words <= reader->n_told_words)
		return 0;
	told = reallocarray(reader->told, n_words, sizeof(*told));
	if (!told)
		return -ENOMEM;
	memset(told + reader->n_told_words, 0, (n_words - reader->n_told_words) * sizeof(*told));
	reader->told = told;
	reader->n_told_words = n_words;
	return 0;
}

static void
set_told(struct peer *reader, const struct peer *subject)
{
	reader->told[subject->slot / WORD_BITS] |= UINT64_C(1) << (subject->slot % WORD_BITS);
}

static void
clear_told(struct peer *reader, const struct peer *subject)
{
	reader->told[subject->slot / WORD_BITS] &= ~(UINT64_C(1) << (subject->slot % WORD_BITS));
}

/* ---- slots ----------------------------------------------------------------------------------- */

static int
take_slot(struct roster *roster, struct peer *peer)
{
	uint32_t slot = roster->first_free;

	while (slot < roster->n_slots && roster->slots[slot])
		slot++;
	if (slot == roster->n_slots) {
		uint32_t n_slots = roster->n_slots ? roster->n_slots * 2 : WORD_BITS;
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

/* Take an event off the log; cursors that stood on it stand before it. */
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

/* Nobody needs to be told of a left peer any more. */
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

/* ---- peers ----------------------------------------------------------------------------------- */

static void
close_vectors(struct peer *peer)
{
	if (!peer->seat) {
		for (unsigned i = 0; i < peer->n_vectors; i++)
			fd_close(peer->vectors[i]);
		free(peer->vectors);
	}
	peer->vectors = NULL;
	peer->n_vectors = 0;
}

static int
peer_new_kind(struct peer **ret_peer, enum peer_kind kind, uint16_t id, unsigned n_vectors)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	int r = -ENOMEM;

	if (!peer)
		return -ENOMEM;
	peer->kind = kind;
	peer->id = id;
	if (n_vectors > 0) {
		peer->vectors = calloc(n_vectors, sizeof(int));
		if (!peer->vectors)
			goto fail;
	}
	for (; peer->n_vectors < n_vectors; peer->n_vectors++) {
		/* Non-blocking, because a client may rely on it; the server itself never writes to
		 * them. */
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0) {
			r = -errno;
			goto fail;
		}
		peer->vectors[peer->n_vectors] = fd;
	}
	*ret_peer = peer;
	return 0;

fail:
	peer_free(peer);
	return r;
}

int
peer_new(struct peer **ret_peer, uint16_t id, unsigned n_vectors)
{
	return peer_new_kind(ret_peer, PEER_MEMBER, id, n_vectors);
}

int
peer_new_seat(struct peer **ret_peer, uint16_t id, unsigned n_vectors)
{
	return peer_new_kind(ret_peer, PEER_SEAT, id, n_vectors);
}

int
peer_new_holder(struct peer **ret_peer, struct peer *seat)
{
	struct peer *peer;
	int r = peer_new_kind(&peer, PEER_HOLDER, seat->id, 0);

	if (r < 0)
		return r;
	peer->seat = seat;
	peer->vectors = seat->vectors;
	peer->n_vectors = seat->n_vectors;
	*ret_peer = peer;
	return 0;
}

int
peer_new_observer(struct peer **ret_peer)
{
	return peer_new_kind(ret_peer, PEER_OBSERVER, 0, 0);
}

struct peer *
peer_free(struct peer *peer)
{
	if (peer) {
		close_vectors(peer);
		free(peer->told);
		free(peer);
	}
	return NULL;
}

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
	r = reserve_told(peer, roster->n_slots);
	if (r < 0) {
		release_slot(roster, peer->slot);
		return r;
	}
	peer->joined = stamp;
	peer->join = (struct event){.peer = peer};
	peer->leave = (struct event){.peer = peer, .leave = true};
	list_init(&peer->leave.link);
	peer->cursor = &roster->log;
	list_append(&roster->log, &peer->join.link);
	if (peer->kind == PEER_SEAT)
		return 0;
	list_append(&roster->readers, &peer->link);
	(*reader_count(roster, peer))++;
	return 0;
}

void
roster_leave(struct roster *roster, struct peer *peer)
{
	list_remove(&peer->link);
	(*reader_count(roster, peer))--;

	/* As a reader: whoever left and waited only for this peer to hear of it can be forgotten.
	 */
	for (uint32_t slot = 0; slot < roster->n_slots && slot < peer->n_told_words * WORD_BITS;
		slot++) {
		struct peer *subject = roster->slots[slot];

		if (subject && subject->left && was_told(peer, subject))
			pay(roster, subject);
	}
	free(peer->told);
	peer->told = NULL;
	peer->n_told_words = 0;

	/* As a subject. */
	peer->left = true;
	close_vectors(peer);
	unlink_event(roster, &peer->join);
	list_for_each (link, &roster->readers)
		peer->owed += was_told(peer_at(link), peer);
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

/* How many messages tell of it: one for each vector, or that an observer knows all. */
static unsigned
n_messages(const struct peer *subject)
{
	return subject->kind == PEER_OBSERVER ? 1 : subject->n_vectors;
}

/* Is the table in roster.h. */
static bool
is_told_of(const struct peer *reader, const struct peer *subject)
{
	switch (subject->kind) {
	case PEER_MEMBER:
		return true;
	case PEER_SEAT:
		return reader->kind != PEER_OBSERVER && reader->seat != subject;
	case PEER_HOLDER:
		return reader->kind == PEER_OBSERVER || reader == subject;
	case PEER_OBSERVER:
		return reader == subject;
	}
	return false;
}

/* Will `reader` hear of the event at all? */
static bool
concerns(const struct peer *reader, const struct event *event)
{
	const struct peer *subject = event->peer;

	if (event->leave)
		return was_told(reader, subject);
	return n_messages(subject) > 0 && is_told_of(reader, subject);
}

/* The message number `i` of a join. */
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
	const struct wire_message greeting[GREETING] = {
		{observes ? IVSHMEM_WIRE_OBSERVER : IVSHMEM_WIRE_VERSION, -1},
		{observes ? roster->n_vectors : peer->id, -1},
		{IVSHMEM_WIRE_MEMORY, roster->memory_fd},
	};
	unsigned n = 0, vector;
	struct list *link;
	int r = reserve_told(peer, roster->n_slots);

	if (r < 0)
		return r;
	for (unsigned i = peer->greeting; i < GREETING && n < max; i++)
		messages[n++] = greeting[i];

	/* What does not concern it is skipped for good: an event never begins to concern somebody.
	 */
	while (peer->cursor->next != &roster->log && !concerns(peer, event_at(peer->cursor->next)))
		peer->cursor = peer->cursor->next;

	vector = peer->vector;
	for (link = peer->cursor->next; link != &roster->log && n < max; link = link->next) {
		struct event *event = event_at(link);

		if (!concerns(peer, event))
			continue;
		if (event->leave)
			messages[n++] = (struct wire_message){event->peer->id, -1};
		else
			for (; vector < n_messages(event->peer) && n < max; vector++)
				messages[n++] = join_message(event->peer, vector);
		vector = 0;
	}
	return (int)n;
}

void
roster_told(struct roster *roster, struct peer *peer, unsigned n)
{
	while (n > 0 && peer->greeting < GREETING) {
		peer->greeting++;
		n--;
	}
	while (n > 0) {
		struct event *event = event_at(peer->cursor->next);
		struct peer *subject = event->peer;

		if (!concerns(peer, event)) {
			peer->cursor = &event->link;
			continue;
		}
		n--;
		if (event->leave) {
			peer->cursor = &event->link;
			clear_told(peer, subject);
			pay(roster, subject);
			continue;
		}
		set_told(peer, subject);
		if (subject != peer && peer->kind != PEER_OBSERVER)
			subject->announced = true;
		if (++peer->vector == n_messages(subject)) {
			peer->cursor = &event->link;
			peer->vector = 0;
		}
	}
}
