/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GROUP_PEERS_H
#define GROUP_PEERS_H

/*
 * Peers by id, with the eventfds that ring them. Ids are anything up to 65535, so the table has two
 * levels and grows with the number of peers, not with their ids.
 */

#include <base/list.h>

#include <stddef.h>
#include <stdint.h>

struct remote {
	uint16_t id;
	unsigned n_vectors;
	unsigned n_allocated;
	unsigned reported; /* for the user of the table: vectors that it has reported */
	struct list link;  /* for the user of the table; a member of no list at first */
	int *vectors;      /* eventfds, owned; -1 for one that cannot be rung */
};

struct peers {
	struct remote **pages[256]; /* 256 remotes each */
	size_t n;
};

/* Zero-initialised is empty. Closes everything. */
void peers_done(struct peers *peers);

/* NULL if there is none. */
struct remote *peers_find(const struct peers *peers, uint16_t id);

/* The peer, which is made if there is none yet. -ENOMEM. */
int peers_get(struct peers *peers, uint16_t id, struct remote **ret_remote);

/* Append a vector; takes *fd over on success. -ENOSPC (already IVSHMEM_MAX_VECTORS), -ENOMEM. */
int remote_add_vector(struct remote *remote, int *fd);

/* Close and forget the vectors from number `n` on. */
void remote_truncate(struct remote *remote, unsigned n);

/* Close its vectors and take it off the table. */
void peers_remove(struct peers *peers, struct remote *remote);

/* The ids of all but `except` (NULL: of all), in ascending order, at most `max` of them. Returns
 * how many there are. */
size_t peers_list(
	const struct peers *peers, const struct remote *except, uint16_t *ids, size_t max);

#endif
