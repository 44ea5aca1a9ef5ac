/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SESSION_H
#define IVSHMEM_SESSION_H

/*
 * A session is what a command has with its target: the attached client, the signals that end it,
 * the rings that came and were not used yet, and attaching again after the server was lost.
 *
 * Theory of operation: session_step() is the one place that sleeps. It polls the client, the
 * signals and, for the shell, the input, then dispatches the client once. The client's callbacks
 * only count and hand events on (heard.h); detaching and attaching again, which are not allowed in
 * callbacks, follow afterwards. Signals are blocked and read from a descriptor, so none can slip between a
 * check and a sleep. Attaching blocks elsewhere, in the library: attach.h does it in the background.
 */

#include "cli.h"
#include "event.h"
#include "target.h"

#include <ivshmem/abi.h>
#include <ivshmem/client.h>

#include <stdbool.h>
#include <stdint.h>

struct attaching;
struct pace;

/* No vector is muted; the others are IVSHMEM_ANY_VECTOR or a vector's number. */
#define SESSION_MUTE_NONE (-2)

#define SESSION_FOREVER UINT64_MAX

/* How the rings of one of our vectors fared. */
struct session_vector {
	uint64_t received;   /* since the session began */
	uint64_t unconsumed; /* of them, those that nobody took with session_take() */
	uint64_t unreported; /* of the unconsumed, those that no event told of yet */
};

struct session {
	const struct cli *cli;
	char target[TARGET_MAX];
	bool is_pci;
	bool is_memory;   /* and nothing else: no peers, no interrupts */
	bool needs_peers; /* set before session_open() by commands that make no sense without */
	bool looks; /* needs no id: set before session_open() by commands that only look or ring */

	struct ivshmem_client *client; /* NULL once a PCI device is gone */
	struct ivshmem_error lost;     /* code 0, or why it was lost */

	int signal_fd;             /* -1: SIGINT and SIGTERM just kill, as usual */
	int quit;                  /* the signal that asks to end, 0 if none */
	enum status signal_status; /* of a command that a signal ends */

	/* unix: attach again when the server is lost, every so often */
	bool reattach;
	uint64_t reattach_interval;
	uint64_t reattach_at;
	int reattach_failure; /* the last one complained of */

	uint64_t attached_at, heard_at; /* clock_now(): the last announcement */
	unsigned news;                  /* announcements of peers and their vectors */

	struct attaching *attaching; /* NULL unless a try is going on */

	/* Called for events, inside of callbacks of the library or not: print and remember, no
	 * more. */
	void (*event)(struct session *session, const struct event *event);
	void *data; /* for event() */

	struct pace *warnings; /* end in event() */

	int muted; /* for which vector interrupts are not made into events now */

	struct session_vector vectors[IVSHMEM_MAX_VECTORS];
};

/*
 * Choose the target and attach. With session->looks, that is to the server's socket for observers if it
 * has one, so that no id is taken, else as a peer; ivshmem_has_id() tells which it became. `event` may
 * be NULL. With `signals`, SIGINT and SIGTERM end session_step() from now on, and if they come during
 * attaching the process ends with `signal_status`. Messages are printed. On success EVENT_ATTACHED was
 * handed out.
 */
enum status session_open(struct session *session, const struct cli *cli,
	void (*event)(struct session *session, const struct event *event), bool signals,
	enum status signal_status);
void session_close(struct session *session);

/* A zeroed session on the heap: it is too large for a stack. NULL after a message. */
struct session *session_new(void);
/* Closes it, too. Returns NULL. */
struct session *session_free(struct session *session);
#define _session_free_ __attribute__((cleanup(session_cleanup)))
static inline void
session_cleanup(struct session **session)
{
	*session = session_free(*session);
}

enum session_wake {
	SESSION_QUIT = 1 << 0,    /* a signal asks to end; session->quit is set */
	SESSION_INPUT = 1 << 1,   /* `input_fd` is readable or at its end */
	SESSION_TIMEOUT = 1 << 2, /* the deadline passed */
	SESSION_GONE = 1 << 3,    /* the PCI device is gone and with it session->client */
};

/*
 * Wait until something happens, at the longest until `deadline` (clock_now(); SESSION_FOREVER), and
 * handle what concerns the client. Returns a set of enum session_wake, which may well be empty.
 */
unsigned session_step(struct session *session, int input_fd, uint64_t deadline);

/* Whether there can be peers; else complain and name the remedy. */
enum status session_check_peers(const struct session *session);

/* Whether there is a client; else complain. For the shell, whose device may be gone. */
enum status session_check_attached(const struct session *session);

/* Say that [offset, offset + length) is not within the memory. Returns STATUS_FAILURE. */
enum status session_fail_range(const struct session *session, uint64_t offset, uint64_t length);

/* Whether a signal asked to end, for work that goes on without sleeping; complains, too, if so. */
bool session_interrupted(struct session *session);

/* A deadline that is `ns` from now; SESSION_FOREVER stays. */
uint64_t session_deadline(uint64_t ns);

#endif
