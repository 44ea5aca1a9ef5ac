/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_REPLAY_H
#define SERVER_REPLAY_H

/*
 * Reading a journal: from the record of the server at the checkpoint (server_write()) and the
 * entries after it to the record of the server as it was when it was killed. This is data only: no
 * descriptor is used, opened or closed, because their numbers may mean something else by now.
 */

struct ivshmem_error;
struct journal;
struct record;

/*
 * `ret_after` is for server_continue(), and record_done() is the caller's. `ret_closing` is the
 * socket of a client that left or was refused, and is perhaps not closed yet; -1: there is none. It
 * may also be free. -EINVAL or -EPROTONOSUPPORT if anything is wrong, -ENOMEM.
 */
int replay(const struct journal *journal, const struct record *before, struct record *ret_after,
	int *ret_closing, struct ivshmem_error *reterr);

#endif
