/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_HANDOVER_H
#define SERVER_HANDOVER_H

/*
 * A group that outlives its server: the server that ends gives all of it to the supervisor, and the
 * next one goes on with it. No client is told, and none notices.
 *
 * Theory of operation
 *
 * All descriptors (the memory, the sockets, the eventfds) and a sealed file with the record of the
 * state go into one bag (socket/bag.h). The supervisor keeps the bag as one descriptor, so it has
 * all or nothing, and one place in its store is enough. Then the server ends. Clients that connect
 * meanwhile wait in the queue of the listening socket, which is in the bag.
 *
 *	old server		supervisor			new server
 *	writes the record
 *	fills the bag
 *	FDSTORE=1 ────────────► keeps the bag
 *	BARRIER=1 ────────────► has read it
 *	ends			starts the new one ────────────► looks into the bag
 *								checks everything
 *								empties the bag
 *				drops the bag ◄───────── FDSTOREREMOVE=1
 *								serves
 *
 * A server that fails before it empties the bag has changed nothing: the next attempt finds all of
 * it. A bag that was emptied, if only in part, has had its server, and is of no use to a later one:
 * so nobody goes on with a state that is no longer true.
 *
 * A server that is killed goes on without the supervisor (common/guardian.h), but not once the group is on its
 * way to the supervisor: there are never two that go on with the same group.
 */

#include <options.h>
#include <region/region.h>
#include <server/record.h>
#include <server/server.h>
#include <sockets.h>

#include <stddef.h>

struct journal;
struct log;

/*
 * How many descriptors this process may have open so that handover_give() has room for all, if
 * `limit` is the hard limit. Half of it: without privilege, clients can leave as many descriptors
 * unread as the server may have open, and the kernel counts them together with those in the bag.
 */
unsigned long handover_room(unsigned long limit);

/* The record of all of it: what goes along is borrowed. record_done() is the caller's. */
int handover_write(const struct server *server, struct sockets *sockets,
	const struct region *region, const struct options *options, struct record *ret_record);

/* Give the group to the supervisor. Afterwards `sockets` and `region` remove nothing when they are
 * closed. A failure changes nothing, but that the journal ends. */
int handover_give(const struct server *server, struct sockets *sockets, struct region *region,
	const struct options *options, struct journal *journal, const struct log *log,
	struct ivshmem_error *reterr);

struct handover {
	int bag; /* -1: none */
	struct record record;
	struct record server; /* for server_continue(); borrowed from `record` */
	char version[32];     /* of the program that wrote it */
};

/*
 * Look into the bag, and set up sockets and memory from it. -EINVAL with the remedy if the options
 * do not fit the group. After a failure the process must end, because descriptors are left open.
 */
int handover_open(struct handover *ret_handover, int bag, struct sockets *sockets,
	struct region *region, const struct options *options, struct ivshmem_error *reterr);
/* The same with a record of handover_write(), whose descriptors this process has. It is taken over,
 * also by a failure. */
int handover_read(struct handover *ret_handover, struct record *record, struct sockets *sockets,
	struct region *region, const struct options *options, struct ivshmem_error *reterr);
/* What is needed no more when server_continue() is done. */
void handover_forget(struct handover *handover);
/* The group is ours: nobody else can have it any more. Takes the bag over. */
void handover_take(struct handover *handover, const struct log *log);

#endif
