/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_IDS_H
#define SERVER_IDS_H

/*
 * Which id a newcomer gets.
 *
 * Ids are given out round-robin, beginning with 0, and an id is given out again only if that is
 * safe. Every QEMU to date corrupts its heap when it is told of an id, then that the id left, and
 * then of the same id again. So an id that somebody was told about can come again only when no
 * client is connected any more that was connected while its last holder was. An id that nobody else
 * was told about counts as never used: a client that connects and closes at once uses up no id.
 *
 * Time is a counter of joins and leaves, so "who was there when" is one comparison.
 */

#include <stdbool.h>
#include <stdint.h>

struct ivshmem_error;
struct record;

#define IDS_COUNT 65536

struct ids {
	uint64_t now;  /* counts joins and leaves */
	uint32_t next; /* where the search starts */
	uint32_t n_used;
	bool used[IDS_COUNT];
	uint64_t retired[IDS_COUNT]; /* when its last announced holder left; 0: it had none */
};

void ids_init(struct ids *ids);

/* A moment, to be taken when a client joins. Later calls return greater numbers. */
uint64_t ids_stamp(struct ids *ids);

/*
 * Take an id. `oldest` is the stamp of the client that has been connected longest, UINT64_MAX if
 * there is none. -ENOSPC if no id can be used safely.
 */
int ids_take(struct ids *ids, uint64_t oldest, uint16_t *ret_id);

/* Reserve this id for good, so that ids_take() never returns it. -EINVAL if it is taken. */
int ids_reserve(struct ids *ids, uint16_t id);

/* How many ids cannot be taken now, with `oldest` as above. Looks at all of them. */
uint32_t ids_spent(const struct ids *ids, uint64_t oldest);

/* Give an id back. `announced`: somebody else was told about its holder. */
void ids_release(struct ids *ids, uint16_t id, bool announced);

/*
 * Write all of it down, and read it back (record.h). What ids_read() returns is allocated, and the
 * caller frees it. -ENOMEM, and for a record that is wrong -EINVAL or -EPROTONOSUPPORT.
 */
int ids_write(const struct ids *ids, struct record *ret_record);
int ids_read(struct ids **ret_ids, const struct record *record, struct ivshmem_error *reterr);

#endif
