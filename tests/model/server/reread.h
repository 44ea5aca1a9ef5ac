/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODEL_REREAD_H
#define MODEL_REREAD_H

/*
 * What a server does that is replaced: it writes its roster down and is gone, and another one reads the
 * roster back. The descriptors stay open, with their numbers.
 */

#include <server/record.h>
#include <server/roster.h>
#include <test.h>

#include <stdlib.h>
#include <string.h>

#define NOWHERE UINT32_MAX

/* Where a peer's join is on the log; NOWHERE if it has not joined. */
static inline uint32_t
place_on_log(const struct roster *roster, const struct peer *peer)
{
	uint32_t place = 0;

	list_for_each (link, &roster->log) {
		if (link == &peer->join.link)
			return place;
		place++;
	}
	return NOWHERE;
}

/*
 * `peers` point to wherever the test keeps a peer or a seat; they may keep NULL. What is on the roster is
 * replaced there by the new one.
 */
static inline void
roster_reread(struct roster *roster, uint64_t now, struct peer **const *peers, unsigned n_peers)
{
	int memory_fd = roster->memory_fd;
	struct record record, again;
	struct {
		uint32_t place;
		struct peer *seat;
	} *old = calloc(n_peers, sizeof(*old));

	CHECK(old);
	CHECK_EQ(roster_write(roster, &record), 0);
	for (unsigned i = 0; i < n_peers; i++) {
		struct peer *peer = *peers[i];

		old[i].place = peer ? place_on_log(roster, peer) : NOWHERE;
		if (old[i].place == NOWHERE)
			continue;
		old[i].seat = peer->kind == PEER_SEAT ? peer : NULL;
		/* The old server must not close what the new one goes on with. */
		for (unsigned j = 0; j < peer->n_vectors; j++)
			peer->vectors[j] = -1;
	}
	roster_done(roster);
	for (unsigned i = 0; i < n_peers; i++)
		peer_free(old[i].seat);
	CHECK_EQ(roster_read(roster, &record, now, memory_fd, NULL), 0);
	for (unsigned i = 0; i < n_peers; i++) {
		struct list *link = roster->log.next;

		if (old[i].place == NOWHERE)
			continue;
		for (uint32_t place = 0; place < old[i].place; place++)
			link = link->next;
		*peers[i] = container_of(link, struct event, link)->peer;
	}
	CHECK_EQ(roster_write(roster, &again), 0);
	CHECK_EQ(again.size, record.size);
	CHECK(memcmp(again.bytes, record.bytes, record.size) == 0);
	record_done(&again);
	record_done(&record);
	free(old);
}

#endif
