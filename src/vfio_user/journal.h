/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_JOURNAL_H
#define VFIO_USER_JOURNAL_H

/*
 * All that a device process has to leave behind, so that another process can take its place when it is
 * killed, unseen by VMM, guest and server. Both processes have this memory, at the same address, and
 * one table of descriptors (tools/common/guardian.h).
 *
 * Theory of operation
 *
 *	the VMM's connection	kept.h
 *	the session, the	two copies, here. They are those after the last request that was handled, or
 *	function		after the last round of the loop
 *	the member		what its server has said (wire/log.h); rings that were read, but of which the
 *				guest may not know. Two of them, because a member can have a successor.
 *
 * A commit writes the copy that is not in force, and then changes which one is. So the next process
 * finds the state before a request, and the request, or the state after it, and the reply. A request
 * that was under way is handled again: what it does to others, it may do twice. It may ring a peer
 * twice, and interrupt the guest twice. Both add up in eventfds anyway, and drivers bear it.
 *
 * A descriptor is closed after the commit of a state that does not have it. So no number in the
 * journal ever means another file. The next process closes what nobody has. Connections that were
 * accepted, and are not in the journal, are visitors at the door.
 */

#include <member/member.h>
#include <vfio_user/kept.h>

#include <stdbool.h>

struct channel;
struct journal;
struct process;
struct session;

/* In memory that forked processes share. NULL: there is no memory. */
struct journal *journal_new(void);
void journal_free(struct journal *journal);

/* In the first process, before there are others: the descriptors that are open belong to all. */
void journal_inherit(struct journal *journal);

/* In a process that begins to work: it closes no descriptor before a commit. */
void journal_use(struct journal *journal);
/* It works: from now on, another process can go on. */
void journal_begin(struct journal *journal);
bool journal_has_begun(const struct journal *journal);
/* Whether a process came so far since the last call, and then handled the request that was under way, if
 * there was one. */
bool journal_was_used(struct journal *journal);

/*
 * In a process that takes over, before it opens anything: close what belonged to the one before it alone.
 * `visit` gets the connections of `listener` (-1: none) that nobody has.
 */
void journal_take_over(
	struct journal *journal, int listener, void (*visit)(int fd, void *data), void *data);

/* Of the member in use, and of the next one. */
struct member_kept *journal_member(struct journal *journal);
struct member_kept *journal_spare(struct journal *journal);

struct kept *journal_kept(struct journal *journal);

/* What is to be committed. */
struct journal_state {
	const struct session *session;
	const struct channel *channel;
	int socket; /* -1: there is no VMM */
	const struct process *who;
	const struct member_kept *member; /* in use */
};

/* After a request: `reply` is to be sent, if it is not NULL; then, with `end`, nothing follows. */
void journal_commit_request(struct journal *journal, const struct journal_state *state,
	const struct reply *reply, bool end, bool is_access);
/* A VMM came or went, or another member is in use. */
void journal_commit_session(struct journal *journal, const struct journal_state *state);
/* After a round of the loop. */
void journal_commit_round(struct journal *journal, const struct journal_state *state);

/* The VMM that is connected: its socket, -1 if there is none. */
int journal_socket(struct journal *journal, struct process *ret_who);
/* Give a new session and its new function their state. */
int journal_read(struct journal *journal, struct session *session, struct ivshmem_error *reterr);

#endif
