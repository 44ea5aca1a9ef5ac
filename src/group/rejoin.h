/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GROUP_REJOIN_H
#define GROUP_REJOIN_H

/*
 * When to join a group again whose server is gone. How to join is the user's business (rejoin_ops).
 *
 * Theory of operation. The user keeps the memory and the peers that it has, whatever becomes of the
 * server. While it is allowed, it looks for a server on the same socket, and becomes a new member:
 * with another id, and most likely with another memory.
 *
 *	     server gone        it listens           id and memory are there
 *	JOINED ----------> ALONE ----------> JOINING ----------> JOINED
 *	                   |   ^                |
 *	                   +---+                | fails, or takes too long
 *	               nobody listens           v
 *	                     ALONE <--------- RESTING
 *	                            a while
 *
 * Nothing blocks: JOINING waits for events of the loop. RESTING is for servers that listen but are of
 * no use. Each try may cost them an id, so each pause is longer than the one before. The pause before
 * the first look also grows if the last membership was short. So a server that takes us in and closes
 * the connection, for ever, can neither keep us busy nor fill the log.
 */

#include <base/log.h>
#include <ivshmem/common.h>
#include <loop/loop.h>

#include <stdbool.h>
#include <stdint.h>

enum rejoin_state { REJOIN_JOINED, REJOIN_ALONE, REJOIN_JOINING, REJOIN_RESTING };

struct rejoin;

struct rejoin_ops {
	/* Begin a try, without waiting for anything. It ends with rejoin_joined() or rejoin_failed(),
	 * called later from the loop. If this fails, nobody listens, and nothing is left of the try. */
	int (*begin)(struct rejoin *rejoin, struct ivshmem_error *reterr);
	/* Undo what is there of the try. */
	void (*abandon)(struct rejoin *rejoin);
	/* The try has ended, in one way or the other. */
	void (*settled)(struct rejoin *rejoin);
};

struct rejoin {
	const struct rejoin_ops *ops;
	struct loop *loop;
	const struct log *log;
	uint64_t patience; /* with a try */

	enum rejoin_state state;
	bool allowed;
	struct loop_timer timer;   /* the next try, or the end of this one */
	uint64_t pause;            /* before the next look, or in RESTING */
	uint64_t joined;           /* when: clock_now() */
	struct ivshmem_error said; /* a failure is logged once, until another one comes */
};

/* JOINED, and allowed to join again. A try may take `timeout_ms`, at most 3000; 0: 3000. */
void rejoin_init(struct rejoin *rejoin, const struct rejoin_ops *ops, struct loop *loop,
	const struct log *log, unsigned timeout_ms);
/* A try that goes on is undone. */
void rejoin_done(struct rejoin *rejoin);

/* The server is gone. */
void rejoin_lost(struct rejoin *rejoin);

/* How the try ended. */
void rejoin_joined(struct rejoin *rejoin);
void rejoin_failed(struct rejoin *rejoin, const struct ivshmem_error *error);

/* Whether to look for a server, should there be none. If not, a try that goes on is undone. */
void rejoin_allow(struct rejoin *rejoin, bool allowed);

/* Try now, unless it rests. Returns whether a try goes on. */
bool rejoin_try(struct rejoin *rejoin);

#endif
