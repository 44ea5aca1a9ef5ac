/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SESSION_STATE_H
#define IVSHMEM_SESSION_STATE_H

/* What a session is made of: for session.c, and for heard.c below it. */

#include "cli.h"
#include "event.h"
#include "target.h"

#include <ivshmem/abi.h>
#include <ivshmem/client.h>

#include <stdbool.h>
#include <stdint.h>

struct attaching;

/* No vector is muted; the others are IVSHMEM_ANY_VECTOR or a vector's number. */
#define SESSION_MUTE_NONE (-2)

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

	int muted; /* for which vector interrupts are not made into events now */

	struct session_vector vectors[IVSHMEM_MAX_VECTORS];
};

#endif
