/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SESSION_STATE_H
#define IVSHMEM_SESSION_STATE_H

/* What a session consists of, for session.c and for heard.c below it. */

#include "cli.h"
#include "event.h"
#include "target.h"

#include <ivshmem/abi.h>
#include <ivshmem/client.h>

#include <stdbool.h>
#include <stdint.h>

struct attaching;

/* A value of session::muted: no vector. The others are IVSHMEM_ANY_VECTOR or a vector's number. */
#define SESSION_MUTE_NONE (-2)

/* What became of the rings of one of our vectors. */
struct session_vector {
	uint64_t received;   /* since the session began */
	uint64_t unconsumed; /* those of them that nobody took with session_take() */
	uint64_t unreported; /* those of the unconsumed that no event has reported yet */
};

struct session {
	const struct cli *cli;
	char target[TARGET_MAX];
	bool is_pci;
	bool is_memory; /* memory alone: no peers, no interrupts */
	/* Set before session_open() ... */
	bool needs_peers; /* ... by commands that make no sense without peers */
	bool looks;       /* ... by commands that need no id, because they only look or ring */
	int hears;        /* ... by commands that hear one vector; else IVSHMEM_ANY_VECTOR */

	struct ivshmem_client *client; /* NULL once a PCI device is gone */
	struct ivshmem_error lost;     /* code 0, or why it was lost */

	int signal_fd;             /* -1: SIGINT and SIGTERM kill us, as usual */
	int quit;                  /* the signal that asks us to end, 0 if none */
	enum status signal_status; /* of a command that a signal ends */

	/* unix: attach again when the server is lost. Times are in nanoseconds. */
	bool reattach;
	uint64_t reattach_interval;
	uint64_t reattach_at;
	int reattach_failure; /* the last one that we reported */

	uint64_t attached_at, heard_at; /* clock_now(): the last announcement */
	unsigned news;                  /* announcements of peers and their vectors */

	struct attaching *attaching; /* NULL unless an attempt is going on */

	/* Called for each event, inside callbacks of the library or outside: it may only print and
	 * remember. */
	void (*event)(struct session *session, const struct event *event);
	void *data; /* for event() */

	int muted; /* the vector whose interrupts are not reported as events now */

	struct session_vector vectors[IVSHMEM_MAX_VECTORS];
};

#endif
