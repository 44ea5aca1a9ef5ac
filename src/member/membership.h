/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMBER_MEMBERSHIP_H
#define MEMBER_MEMBERSHIP_H

/*
 * The inside of src/member.
 *
 * Theory of operation
 *
 * membership.c opens and closes, and calls the others, which do not call it. messages.c is told by the
 * uplink (src/group) what the server says. memory.c maps the memory. vectors.c watches our own
 * eventfds, and keeps the device's idea of everybody's equal to the uplink's table: as long as a device
 * is attached, it has as many vectors of each peer as the table. What it does not want is dropped from
 * the table at once.
 *
 * Our own eventfds are watched by the loop while a device is attached to be interrupted, and while
 * nobody else watches them instead.
 */

#include <group/uplink.h>
#include <member/member.h>

#include <ivshmem/abi.h>

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
	const struct log *log;
	void (*lost)(struct member *member, const struct ivshmem_error *error, void *data);
	void (*joined)(struct member *member, void *data); /* NULL: was called, or nobody waits */
	void *data;

	struct ivshmem_device *device; /* NULL: none attached */

	bool has_server;
	struct uplink uplink; /* empty without server */
	int32_t id;
	bool told_of_more_vectors; /* than the device has */

	int memory_fd;
	void *memory;
	uint64_t size;
	bool guarded, failed; /* whether it may vanish; whether that was told */

	struct own_vector **own; /* n_own pointers: the loop knows their addresses */
	unsigned n_own;
};

/* ---- memory.c -------------------------------------------------------------------------------- */

/* Open what config->shm or config->file names. */
int memory_open(
	struct member *member, const struct member_config *config, struct ivshmem_error *reterr);

/* Map the memory and keep it; takes *fd over on success. */
int memory_take(struct member *member, int *fd, struct ivshmem_error *reterr);
void memory_release(struct member *member);

/* Tell the attached device of the memory, which is new to it, if both are there. */
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

/* `remote` leaves the table. */
void vectors_remove_peer(struct member *member, struct remote *remote);

/* A device was attached, or detached. */
void vectors_attach(struct member *member);
void vectors_detach(struct member *member);

/* Before the uplink closes our eventfds. */
void vectors_close(struct member *member);

#endif
