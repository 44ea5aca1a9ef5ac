/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MEMBER_SUCCESSOR_H
#define MEMBER_SUCCESSOR_H

/*
 * The member that takes the place of one whose server is gone: it joins the next server on the same
 * socket. src/group/rejoin.h says when.
 */

#include <group/rejoin.h>
#include <member/member.h>

struct ivshmem_error;

struct successor {
	struct member_config
		config; /* of the first member; `lost` is called for every one in use */
	/* Use this member from now on, and close the one before; or say why not. */
	int (*replace)(struct member *next, void *data, struct ivshmem_error *reterr);
	/* A try has ended, in one way or the other. */
	void (*settled)(void *data);
	void *data;
	struct member_kept *spare; /* for the next member, if config.kept is for this one */

	struct rejoin rejoin;
	struct member *next; /* of the try that goes on */
};

/* The members up to `data` are set; config.server may be NULL, and then nothing is ever lost. */
void successor_init(struct successor *successor, struct loop *loop, const struct log *log);
void successor_done(struct successor *successor);

#endif
