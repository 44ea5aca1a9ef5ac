/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/peer.h>

#include <base/fd.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

/* ---- making and freeing ---------------------------------------------------------------------- */

void
peer_close_vectors(struct peer *peer)
{
	if (!peer->seat) {
		for (unsigned i = 0; i < peer->n_vectors; i++)
			fd_close(peer->vectors[i]);
		free(peer->vectors);
	}
	peer->vectors = NULL;
	peer->n_vectors = 0;
}

static void
event_init(struct event *event)
{
	list_init(&event->link);
	list_init(&event->cursors);
	list_init(&event->part);
	list_init(&event->part_cursors);
}

struct peer *
peer_new_blank(enum peer_kind kind)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (peer) {
		peer->kind = kind;
		peer->join = (struct event){.peer = peer};
		peer->leave = (struct event){.peer = peer, .leave = true};
		event_init(&peer->join);
		event_init(&peer->leave);
		for (unsigned i = 0; i < PEER_CURSORS; i++)
			list_init(&peer->cursors[i].link);
	}
	return peer;
}

static int
peer_new_kind(struct peer **ret_peer, enum peer_kind kind, uint16_t id, unsigned n_vectors)
{
	struct peer *peer = peer_new_blank(kind);
	int r = -ENOMEM;

	if (!peer)
		return -ENOMEM;
	peer->id = id;
	if (n_vectors > 0) {
		peer->vectors = calloc(n_vectors, sizeof(int));
		if (!peer->vectors)
			goto fail;
	}
	for (; peer->n_vectors < n_vectors; peer->n_vectors++) {
		/* Non-blocking, because a client may rely on it. The server itself never writes to
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
	peer->view = seat->view;
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
		peer_close_vectors(peer);
		free(peer->told);
		free(peer);
	}
	return NULL;
}

/* ---- what concerns whom ---------------------------------------------------------------------- */

unsigned
peer_n_messages(const struct peer *subject)
{
	return subject->kind == PEER_OBSERVER ? 1 : subject->n_vectors;
}

bool
peer_sees(const struct peer *reader, const struct peer *subject)
{
	return !reader->circle || !subject->circle || reader->circle == subject->circle;
}

/* The table in peer.h. */
static bool
is_told_of(const struct peer *reader, const struct peer *subject)
{
	if (!peer_sees(reader, subject))
		return false;
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

bool
peer_is_concerned(const struct peer *reader, const struct event *event)
{
	const struct peer *subject = event->peer;

	if (event->leave)
		return peer_was_told(reader, subject);
	return peer_n_messages(subject) > 0 && is_told_of(reader, subject);
}

/* ---- who was told of whom -------------------------------------------------------------------- */

int
peer_reserve_told(struct peer *reader, uint32_t n_slots)
{
	uint32_t n_words = (n_slots + PEER_WORD_BITS - 1) / PEER_WORD_BITS;
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

void
peer_clear_told(struct peer *reader, struct peer *subject)
{
	if (peer_was_told(reader, subject))
		subject->owed--;
	reader->told[subject->slot / PEER_WORD_BITS] &=
		~(UINT64_C(1) << (subject->slot % PEER_WORD_BITS));
}

bool
peer_was_told(const struct peer *reader, const struct peer *subject)
{
	uint32_t word = subject->slot / PEER_WORD_BITS;

	return word < reader->n_told_words &&
	       (reader->told[word] >> (subject->slot % PEER_WORD_BITS) & 1) != 0;
}

void
peer_set_told(struct peer *reader, struct peer *subject)
{
	if (!peer_was_told(reader, subject))
		subject->owed++;
	reader->told[subject->slot / PEER_WORD_BITS] |= UINT64_C(1)
							<< (subject->slot % PEER_WORD_BITS);
}
