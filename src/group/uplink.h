/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GROUP_UPLINK_H
#define GROUP_UPLINK_H

/*
 * One side of the server protocol: the connection to a server, and the peers with their eventfds.
 * libivshmem and the device use it. What the events mean for them is their business (uplink_ops).
 *
 * Theory of operation
 *
 * uplink_open() connects. uplink_greet() waits until the id and the memory are there, and
 * uplink_settle() or uplink_await_complete() for the announcements after them. All three block,
 * with a time limit. From uplink_listen() on, the socket is a source of the loop. The caller may
 * skip the waiting and listen at once.
 *
 * Messages come one at a time from the receiver (src/wire) through the follower, which knows the
 * protocol, to the table of peers, and from there to the operations. Our own vectors are in the
 * table, too, under our id; an observer has none.
 *
 * The server is not trusted. A message that makes no sense is ignored and logged, at a limited
 * pace. A message that breaks the protocol ends the connection: `lost`. The table, and so every
 * eventfd, stays. Our descriptors limit how much the server can make us keep: a descriptor that is
 * no eventfd is closed and takes only the number of a vector, and too many of those end the
 * connection.
 *
 * One thread at a time uses an uplink, but any thread may call uplink_ring(). So the thread that
 * changes the table holds the lock, for the change alone. No operation is called with it, and
 * operations may ring.
 */

#include <base/pace.h>
#include <base/ringer.h>
#include <group/follower.h>
#include <group/peers.h>
#include <loop/loop.h>
#include <wire/log.h>
#include <wire/wire.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct ivshmem_error;
struct log;
struct uplink;

/* `vector`, `left` and `memory` may not close the uplink; `handled` and `lost` may. */
struct uplink_ops {
	/* Our id is known. May be NULL. */
	void (*identified)(struct uplink *uplink);
	/* The memory is there, for the first and only time. Takes *fd over on success. A failure
	 * makes the connection useless. */
	int (*memory)(struct uplink *uplink, int *fd, struct ivshmem_error *reterr);
	/*
	 * `remote`, perhaps ourselves, has one more vector, the last of its table; -1 there cannot
	 * be rung. May call uplink_truncate(). A failure takes the vector off again, and makes the
	 * connection useless.
	 */
	int (*vector)(struct uplink *uplink, struct remote *remote);
	/* `remote`, never ourselves, has left. May call uplink_truncate(); afterwards that happens
	 * anyway, with 0. */
	void (*left)(struct uplink *uplink, struct remote *remote);
	/* From the loop: some messages were handled, and now others have their turn. */
	void (*handled)(struct uplink *uplink);
	/* From the loop: the server closed the connection, or made it useless. It is closed. */
	void (*lost)(struct uplink *uplink, const struct ivshmem_error *error);
};

enum uplink_kind {
	UPLINK_MEMBER,
	UPLINK_EITHER, /* the server may speak the dialect of 2010, too */
	UPLINK_OBSERVER,
};

struct uplink {
	const struct uplink_ops *ops;
	struct loop *loop;
	const struct log *log;
	int socket; /* -1: not connected, or no longer */
	int cancel; /* borrowed; -1: none */
	struct loop_source source;
	struct wire_receiver receiver;
	struct wire_log *wire_log; /* borrowed; NULL: none. To be set before uplink_open() */
	struct loop_timer gone;    /* tells that the connection had ended before */
	struct follower follower;
	pthread_mutex_t lock; /* the table as others see it, and the ringer */
	struct peers peers;
	unsigned most_vectors; /* that any other peer has had */
	unsigned impostors;    /* descriptors that were no eventfds */
	struct pace complaints;
	struct ringer ringer;
};

/*
 * An uplink that is not connected, and can be closed. `loop` and `log` are borrowed. If `cancel`
 * (borrowed; -1: none) becomes readable, everything that blocks ends with -ECANCELED.
 */
void uplink_init(struct uplink *uplink, const struct uplink_ops *ops, struct loop *loop,
	const struct log *log, int cancel);

/* Connect to the server's socket `path` by `deadline` (clock_now()). If the log has a connection
 * already, go on with that: uplink_listen() then takes in all that was said, without waiting. */
int uplink_open(struct uplink *uplink, enum uplink_kind kind, const char *path, uint64_t deadline,
	struct ivshmem_error *reterr);

/* Wait for the id and the memory: -ETIMEDOUT, or what makes the connection useless. */
int uplink_greet(struct uplink *uplink, uint64_t deadline, struct ivshmem_error *reterr);

/*
 * No message says how many vectors we have, so this waits for them: until there are `vectors`, or,
 * if that is 0, as many as any other peer has, and then until the server is quiet for `quiet` ns.
 * It waits in any case no longer than until the server was silent for `silence` ns, or until
 * `deadline`. Returns 0, or the error that makes the connection useless. The caller must judge
 * -ECONNRESET, because all that came before works on.
 */
int uplink_settle(struct uplink *uplink, unsigned vectors, uint64_t quiet, uint64_t silence,
	uint64_t deadline, struct ivshmem_error *reterr);

/* As an observer: wait until the server says that all peers have been announced. */
int uplink_await_complete(struct uplink *uplink, uint64_t deadline, struct ivshmem_error *reterr);

/* From now on the loop handles the messages. */
int uplink_listen(struct uplink *uplink, struct ivshmem_error *reterr);

/* Close the connection only. */
void uplink_disconnect(struct uplink *uplink);

/* Close everything. Harmless if it is closed. */
void uplink_close(struct uplink *uplink);

/* Whether the peer is ourselves. */
bool uplink_is_self(const struct uplink *uplink, uint16_t peer);

/* Our own entry in the table, NULL if there is none (yet). */
struct remote *uplink_self(const struct uplink *uplink);

/* The eventfd of a vector, borrowed; -1 if there is none, or if it cannot be rung. */
int uplink_eventfd(const struct uplink *uplink, uint16_t peer, unsigned vector);

/* Close and forget the vectors of a peer from number `n` on; with 0 the peer, too. */
void uplink_truncate(struct uplink *uplink, struct remote *remote, unsigned n);

/* Ring a vector, possibly of ourselves. Any thread. -ENOENT: no such peer; -EINVAL: no such vector. */
int uplink_ring(struct uplink *uplink, uint16_t peer, unsigned vector);

#endif
