/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_VFIO_USER_ROOM_H
#define UNIT_VFIO_USER_ROOM_H

/*
 * A function that is a member of a group (member_stage.h has the server's side), and a session of a
 * VMM with it, without a socket between them.
 */

#include <base/pace.h>
#include <function/function.h>
#include <vfio_user/handlers.h>

#include <member_stage.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct room {
	struct function function;
	struct session session;
	struct pace complaints;

	/* the last reply */
	struct vfio_user_header header;
	struct reply reply;
	bool ended; /* the connection would be closed after it */
};

/* One room at a time. */
extern struct room room;

/* Defaults for a device with a server and STAGE_MEMORY, which may be changed before room_open(). */
struct ivshmem_device_config room_config(unsigned revision, unsigned vectors);

/*
 * Join the group with the id of `config` (revision 0 without, and without memory, for the server to
 * send), and let a VMM in.
 */
void room_open(const struct ivshmem_device_config *config);
/* The same with room_config(). */
void room_open_simple(unsigned revision, unsigned vectors);
void room_close(void);

/* A test in the most usual room: revision 1, 2 vectors, negotiated. */
void room_open_usual(void);
#define ROOM_TEST(name) TEST_WITH(name, .begin = room_open_usual, .end = room_close)

/* What the server of revision 0 has to say: an id, and memory. */
void room_greet(int64_t id, uint64_t memory);
/* An eventfd that the server gives away as a vector of `peer`; a copy is ours until the test ends. */
int room_vector(int64_t peer);

/* The VMM is gone, and another one is there, which has not negotiated. */
void room_change_vmm(void);

/*
 * A request; its descriptors are closed, as the channel does, except those that were kept. Checks
 * what is true of every reply, and returns its errno, 0 for success.
 */
uint32_t room_request(
	uint16_t command, const void *body, size_t length, const int *fds, unsigned n_fds);

/* VERSION with this text. */
uint32_t room_version(const char *json);

/* Accesses that must succeed, of any size, and of up to 8 bytes. */
const uint8_t *room_read_bytes(uint32_t region, uint64_t offset, uint32_t count);
void room_write_bytes(uint32_t region, uint64_t offset, uint32_t count, const void *data);
uint64_t room_read(uint32_t region, uint64_t offset, uint32_t count);
void room_write(uint32_t region, uint64_t offset, uint32_t count, uint64_t value);

/* SET_IRQS without descriptors, and with copies of these, which the caller keeps. */
uint32_t room_set_irqs(uint32_t flags, uint32_t index, uint32_t start, uint32_t count);
uint32_t room_set_eventfds(uint32_t action, uint32_t index, uint32_t start, uint32_t count,
	const int *fds, unsigned n_fds);

#endif
