/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_MEMBER_STAGE_H
#define UNIT_MEMBER_STAGE_H

/*
 * A member with a real device on one side and a server that says what it is told to on the other,
 * all in one process. What the server says is there at the next stage_dispatch(): nobody has to
 * wait.
 */

#include <member/member.h>

#include <base/log.h>
#include <ivshmem/abi.h>
#include <ivshmem/device.h>
#include <wire/wire.h>

#include <fdpass.h>
#include <marks.h>
#include <test.h>

#define STAGE_MEMORY    (UINT64_C(1) << 20)
#define STAGE_GIVEN_MAX 1000

struct stage {
	struct loop *loop;
	struct log log;
	struct member *member;
	struct ivshmem_device *device;

	char path[100];       /* of the server's socket */
	bool hang_up;         /* after the greeting */
	int listener, server; /* server: its end of the connection */

	unsigned interrupts[IVSHMEM_MAX_VECTORS]; /* messages to the guest, by vector */
	unsigned n_mapped, n_triggers;
	bool refuse_triggers;

	int given[STAGE_GIVEN_MAX]; /* our copies of the vectors that the server gave away */
	unsigned n_given;

	unsigned n_lost;
	struct ivshmem_error lost;
	bool close_when_lost;

	unsigned n_warnings;
	char warning[1024]; /* the last one */
	char info[1024];    /* the last of these */
};

/* One stage at a time. */
extern struct stage stage;

/* A loop and a server that listens; nobody is connected. */
void stage_open(void);
/* Everything away, whatever there is. */
void stage_close(void);

/* A configuration that leads to this server. */
struct member_config stage_config(bool late);

/*
 * member_open(), while the server accepts and says `n` messages, whose descriptors it closes then.
 * Returns what member_open() does.
 */
int stage_join(const struct member_config *config, const struct wire_message *messages, unsigned n,
	struct ivshmem_error *reterr);

/* The ordinary beginning: version, id 5, memory. */
void stage_join_simple(void);
/* And a device of revision 1 with so many vectors; and a vector of a peer, which it returns. */
void stage_begin(unsigned vectors);
int stage_begin_with(unsigned vectors, int64_t peer);

/* A device of `revision` with `vectors`, attached; its MSI-X is emulated by the host, so that every
 * ring becomes a message. The second one only makes it. */
void stage_attach(unsigned revision, unsigned vectors);
void stage_make_device(unsigned revision, unsigned vectors, uint64_t size);
/* Detach and free it. */
void stage_drop_device(void);

/* Place BAR0 and switch memory decoding on, so that triggers are asked for. */
void stage_place_bars(void);

/* The server says this; its descriptor is closed when it was sent. */
void stage_say(int64_t number, int fd);
/* What is to be said, until nothing is left of it. */
void stage_dispatch(void);
void stage_say_and_dispatch(int64_t number, int fd);
/* The server goes away, and the member is told. */
void stage_end_server(void);

/* Memory as the server hands it out. */
int stage_memory(uint64_t size);

/* An eventfd that the server gives away as a vector of `peer`; a copy, until stage_close(). */
int stage_give_vector(int64_t peer);

/* Write to an eventfd, and let the member see it. */
void stage_ring(int fd);

/* Read an eventfd: 0 if it was not rung. */
uint64_t stage_count(int fd);

uint32_t stage_position(void);
void stage_doorbell(uint32_t value);

#endif
