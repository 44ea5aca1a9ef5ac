/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMBER_MEMBERSHIP_H
#define MEMBER_MEMBERSHIP_H

/*
 * The inside of src/member.
 *
 * Theory of operation
 *
 * membership.c opens and closes, and calls the others, which do not call it. The uplink (src/group)
 * calls messages.c with what the server says. memory.c maps the memory. vectors.c watches our own
 * eventfds, and keeps the device's vectors equal to the uplink's table: an attached device has as
 * many vectors of each peer as the table. A vector that it does not want leaves the table at once.
 *
 * The loop watches our own eventfds while a device is attached, unless an irqfd watches them.
 */

#include <group/uplink.h>
#include <member/member.h>

#include <ivshmem/abi.h>

/* When no message has come for so long, the server has no more vectors for us. A server of ours
 * pauses much less, even on a busy machine. */
#define SETTLE (500 * NSEC_PER_MSEC)

/* One of our own vectors, whose eventfd is in the table of peers. */
struct own_vector {
	struct member *member;
	struct loop_source source; /* in the loop while it is watched by us */
	unsigned vector;
	int fd;       /* borrowed from the table; -1 if it was no eventfd */
	bool yielded; /* to an irqfd */
	uint64_t wakeups, rings;
};

struct member {
	const struct log *log;
	void (*lost)(struct member *member, const struct ivshmem_error *error, void *data);
	void (*joined)(struct member *member, void *data); /* NULL: was called, or nobody waits */
	void *data;

	struct ivshmem_device *device; /* NULL: none attached */
	struct member_kept *kept;

	bool has_server;
	struct uplink uplink; /* empty without server */
	int32_t id;
	bool told_of_more_vectors; /* from the server than the device has */

	int memory_fd;
	void *memory;
	uint64_t size;
	bool read_only;       /* how the memory is mapped */
	bool guarded, failed; /* whether it may vanish; whether that was logged */

	struct own_vector **own; /* n_own pointers, because the loop keeps their addresses */
	unsigned n_own;
};

/* ---- memory.c -------------------------------------------------------------------------------- */

/* Open what config->shm or config->file names. */
int memory_open(
	struct member *member, const struct member_config *config, struct ivshmem_error *reterr);

/* Map the memory and keep it; takes *fd over on success. */
int memory_take(struct member *member, int *fd, struct ivshmem_error *reterr);
void memory_release(struct member *member);

/* If both are there, tell the device, which does not know it yet, of the memory. */
int memory_tell_device(struct member *member, struct ivshmem_error *reterr);

/* ---- messages.c ------------------------------------------------------------------------------ */

extern const struct uplink_ops member_uplink_ops;

/* Connect to config->server by `deadline` (clock_now()), wait as member_open() promises, then
 * listen. */
int messages_open(struct member *member, const struct member_config *config, uint64_t deadline,
	struct ivshmem_error *reterr);

/* ---- vectors.c ------------------------------------------------------------------------------- */

/* `remote` has a new vector. */
int vectors_add(struct member *member, struct remote *remote);

/* `remote` is about to leave the table. */
void vectors_remove_peer(struct member *member, struct remote *remote);

/* A device was attached, or detached. */
void vectors_attach(struct member *member);
void vectors_detach(struct member *member);

/* To be called before the uplink closes our eventfds. */
void vectors_close(struct member *member);

#endif
