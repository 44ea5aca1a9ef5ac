/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_CONTEXT_H
#define DOCTOR_CONTEXT_H

/*
 * `ivshmem doctor`: what every check knows, and how it says what it found.
 *
 * Theory of operation. First doctor.c gathers what there is to look at: virtual machine monitors with
 * their command lines, sockets, pieces of memory, PCI devices. Then each topic looks at what is of its
 * kind. A topic is one file with a table of small checks. A check looks and tells, and changes nothing.
 * What one topic learns and another one needs is kept in here: what a server said, and which sockets
 * and memory a command line names.
 */

#include "cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The most things of each kind that one run looks at. */
#define DOCTOR_MOST 64

enum severity {
	SEVERITY_OK,
	SEVERITY_NOTE,    /* worth knowing */
	SEVERITY_WARNING, /* works, but not for ever or not well */
	SEVERITY_ERROR,
	SEVERITY_COUNT
};

/* What a server told us, who only look. */
struct known_server {
	char path[128];
	pid_t pid;     /* 0: unknown, as it has no socket for observers */
	int vectors;   /* of each peer; negative: unknown, for the same reason */
	int peers;     /* that are there */
	uint64_t size; /* of the memory */
};

struct doctor {
	const struct cli *cli;
	const char *root; /* goes before /proc, /sys and /var; "" but in tests */
	bool rings;       /* whether a guest may ring itself, once */

	const char *subject; /* what is looked at */
	unsigned counts[SEVERITY_COUNT];
	char remedy[2048]; /* of the next finding */

	char *targets
		[DOCTOR_MOST]; /* "unix:PATH", "device:PATH", "shm:NAME", "file:PATH" and so on */
	size_t n_targets;
	bool left_out; /* there is more than DOCTOR_MOST of something */
	struct known_server servers[DOCTOR_MOST];
	size_t n_servers;
};

/* Remember something to be looked at, once. */
void doctor_add_target(struct doctor *doctor, const char *scheme, const char *path);

/* What a server told; NULL if none listens on this path, or it was not asked. */
const struct known_server *doctor_server(const struct doctor *doctor, const char *path);

#endif
