/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SESSION_H
#define IVSHMEM_SESSION_H

/*
 * A session connects a command with its target: the attached client, the signals that end the
 * command, the rings that arrived and are not used yet, and attaching again when the server is lost.
 *
 * Theory of operation: only session_step() sleeps. It polls the client, the signals and, for the
 * shell, the input. Then it dispatches the client once. The client's callbacks only count and hand
 * events on (heard.h). Detaching and attaching again are not allowed in callbacks, so they follow
 * afterwards. Signals are blocked and read from a descriptor, so none can slip between a check and a
 * sleep. Attaching blocks inside the library: attach.h does it in the background.
 */

#include "session_state.h"

#define SESSION_FOREVER UINT64_MAX

/*
 * Choose the target and attach. With session->looks, use the server's socket for observers if it has
 * one, which takes no id, else become a peer; ivshmem_has_id() tells which. `event` may be NULL. With
 * `signals`, SIGINT and SIGTERM end session_step() from now on; if they arrive during attaching, the
 * process ends with `signal_status`. Prints what went wrong. On success, EVENT_ATTACHED has been
 * reported.
 */
enum status session_open(struct session *session, const struct cli *cli,
	void (*event)(struct session *session, const struct event *event), bool signals,
	enum status signal_status);
void session_close(struct session *session);

/* A session on the heap, because it is too large for a stack. NULL after a message. */
struct session *session_new(void);
/* Close it and free it. Returns NULL. */
struct session *session_free(struct session *session);
#define _session_free_ __attribute__((cleanup(session_cleanup)))
static inline void
session_cleanup(struct session **session)
{
	*session = session_free(*session);
}

enum session_wake {
	SESSION_QUIT = 1 << 0,    /* a signal asks us to end; session->quit is set */
	SESSION_INPUT = 1 << 1,   /* `input_fd` is readable or at its end */
	SESSION_TIMEOUT = 1 << 2, /* the deadline passed */
	SESSION_GONE = 1 << 3,    /* the PCI device is gone, and session->client with it */
};

/*
 * Wait until something happens, at most until `deadline` (a time of clock_now(), or SESSION_FOREVER),
 * and handle what concerns the client. Returns a set of enum session_wake, which may be empty.
 */
unsigned session_step(struct session *session, int input_fd, uint64_t deadline);

/* Complain and name the remedy if there can be no peers. */
enum status session_check_peers(const struct session *session);

/* Complain if there is no client: the shell goes on when its device is gone. */
enum status session_check_attached(const struct session *session);

/* Complain that [offset, offset + length) is not within the memory. Returns STATUS_FAILURE. */
enum status session_fail_range(const struct session *session, uint64_t offset, uint64_t length);

/* For work that goes on without sleeping: whether a signal asks us to end. If so, complains. */
bool session_interrupted(struct session *session);

/* A deadline that is `ns` from now; SESSION_FOREVER stays. */
uint64_t session_deadline(uint64_t ns);

#endif
