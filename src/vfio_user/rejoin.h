/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_REJOIN_H
#define VFIO_USER_REJOIN_H

/*
 * Joins a group again when its server is gone.
 *
 * Theory of operation. A VMM that is attached keeps the memory and the peers that it has, whatever
 * becomes of the server. While there is none, the device looks for a server on the same socket,
 * and becomes a new member: with another id, and most likely another memory.
 *
 *	     server gone        it listens           id and memory are there
 *	JOINED ----------> ALONE ----------> JOINING ----------> JOINED
 *	                   |   ^                |
 *	                   +---+                | fails, or takes too long
 *	               nobody listens           v
 *	                     ALONE <--------- RESTING
 *	                            a while
 *
 * Nothing blocks: what JOINING waits for are events of the loop. RESTING is for servers that are
 * there but of no use: each try may cost them an id, so the pauses grow. They grow, too, before a look
 * for the next server when a membership has lasted for a short time only: one that takes us in and
 * closes, for ever, can neither keep us busy nor fill the log.
 */

#include <ivshmem/common.h>

#include <loop/loop.h>
#include <member/member.h>

#include <stdbool.h>
#include <stdint.h>

struct log;

enum rejoin_state { REJOIN_JOINED, REJOIN_ALONE, REJOIN_JOINING, REJOIN_RESTING };

struct rejoin {
	struct loop *loop;
	const struct log *log;
	struct member_config config; /* of the first member */
	/* Use this member from now on, and close the one before; or say why not. */
	int (*replace)(struct member *next, void *data, struct ivshmem_error *reterr);
	/* JOINING has ended, in one way or the other. */
	void (*settled)(void *data);
	void *data;

	enum rejoin_state state;
	bool allowed;              /* no VMM is attached */
	struct member *next;       /* JOINING */
	struct loop_timer timer;   /* the next try, or the end of this one */
	uint64_t pause;            /* before the next look, or in RESTING */
	uint64_t joined;           /* when: clock_now() */
	struct ivshmem_error said; /* a failure is told once, until another one comes */
};

/* The members up to `data` are set; config.server may be NULL, and then nothing is ever lost. */
void rejoin_init(struct rejoin *rejoin);
void rejoin_done(struct rejoin *rejoin);

/* The member's server is gone. */
void rejoin_lost(struct rejoin *rejoin);

/* Whether no VMM is attached. */
void rejoin_allow(struct rejoin *rejoin, bool allowed);

/* A VMM wants to come: try now, if it is time. Whether it is to wait, because JOINING is going on. */
bool rejoin_try(struct rejoin *rejoin);

#endif
