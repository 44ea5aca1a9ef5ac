/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_RECOVER_H
#define SERVER_RECOVER_H

/*
 * A worker that goes on where another one was killed (common/guardian.h): it reads the journal, and clears
 * up what the other one left open.
 *
 * Every step can be done twice, because this worker may be killed, too: the journal stays as it is
 * until the next one begins.
 */

#include <handover.h>

struct journal;

#define NEWCOMERS_MAX 16

/* A client that was accepted, and that nothing was done with. There is one at most. */
struct newcomers {
	struct {
		int listen_fd, socket;
	} of[NEWCOMERS_MAX];
	unsigned n;
};

/*
 * Like handover_open(): `ret_handover` is for server_continue(). Closes each descriptor that nobody
 * knows; `own` is one of this process, or -1.
 */
int recover(struct handover *ret_handover, struct newcomers *ret_newcomers, struct journal *journal,
	struct sockets *sockets, struct region *region, const struct options *options, int own,
	struct ivshmem_error *reterr);

#endif
