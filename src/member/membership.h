/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMBER_MEMBERSHIP_H
#define MEMBER_MEMBERSHIP_H

/*
 * The inside of src/member.
 *
 * Theory of operation
 *
 * member.c opens and closes, and has the memory. messages.c follows the server. vectors.c keeps the
 * eventfds, ours among those of the others in one table, and the device's idea of them equal to the
 * table: as long as a device is attached, it has as many vectors of each peer as the table. What it
 * does not want is dropped from the table at once.
 *
 * Our own eventfds are watched by the loop while a device is attached to be interrupted, and while
 * nobody else watches them instead.
 *
 * The server is not trusted. What it can make us keep is bounded by our limit of descriptors: what
 * is no eventfd is closed and only keeps its number, and too many of those end the connection. What
 * it can make us say is bounded by a pace.
 */

#include <base/pace.h>
#include <base/ringer.h>
#include <client/peers.h>
#include <client/uplink.h>
#include <member/member.h>

#include <ivshmem/abi.h>

/* Numbers of vectors that the server may waste with something else than an eventfd. */
#define IMPOSTORS_MAX IVSHMEM_MAX_VECTORS

/* When so long no message has come, the server has no more vectors for us. Much more than a busy
 * machine makes one of ours pause. */
#define SETTLE (500 * NSEC_PER_MSEC)

/* One of our own vectors, whose eventfd is in the table of peers. */
struct own_vector {
	struct member *member;
	struct loop_source source; /* in the loop while it is watched by us */
	unsigned vector;
	int fd;       /* borrowed from the table; -1 if it was no eventfd */
	bool yielded; /* to an irqfd */
};

struct member {
	struct loop *loop;
	const struct log *log;
	void (*lost)(struct member *member, const struct error *error, void *data);
	void (*joined)(struct member *member, void *data); /* NULL: was called, or nobody waits */
	void *data;

	struct ivshmem_device *device; /* NULL: none attached */

	bool has_server;
	struct uplink uplink;
	struct loop_source source; /* of uplink.socket */
	int32_t id;
	unsigned impostors;
	struct pace complaints;    /* about what the server sends */
	bool told_of_more_vectors; /* than the device has */

	int memory_fd;
	void *memory;
	uint64_t size;
	bool guarded, failed; /* whether it may vanish; whether that was told */

	struct peers peers;      /* with ourselves */
	struct own_vector **own; /* n_own pointers: the loop knows their addresses */
	unsigned n_own;
	struct ringer ringer;
};

/* ---- member.c -------------------------------------------------------------------------------- */

/* Map the memory and keep it; takes *fd over on success. */
int member_take_memory(struct member *member, int *fd, struct error *reterr);

void member_release_memory(struct member *member);

/* Tell the attached device of our id and the memory, if they are there. The memory must be new to
 * it. */
int member_tell_device(struct member *member, struct error *reterr);

/* ---- messages.c ------------------------------------------------------------------------------ */

/* Connect to config->server by `deadline` (clock_now()), wait as member_open() promises, then
 * listen. */
int messages_open(struct member *member, const struct member_config *config, uint64_t deadline,
	struct error *reterr);
void messages_close(struct member *member);

/* ---- vectors.c ------------------------------------------------------------------------------- */

/* The next vector of `peer`; takes *fd over on success. -1 only takes the number. */
int vectors_add(struct member *member, uint16_t peer, int *fd);

/* -ENOENT if there is no such peer. */
int vectors_remove_peer(struct member *member, uint16_t peer);

/* A device was attached, or detached. */
void vectors_attach(struct member *member);
void vectors_detach(struct member *member);

void vectors_close(struct member *member);

#endif
