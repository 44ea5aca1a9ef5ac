/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_SPAWN_H
#define IVSHMEM_AGENT_SPAWN_H

/* Starting a command for a caller. */

#include "login.h"

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn {
	char **arguments;          /* with NULL at the end; none: a login shell */
	char **environment;        /* NAME=VALUE, with NULL at the end: besides what there is */
	const char *directory;     /* NULL: the home of the user */
	const struct login *login; /* who we are */
	bool terminal;             /* whether it gets one, of this size */
	uint16_t rows, columns;
};

struct spawned {
	pid_t pid; /* of a session and a process group of its own */
	/* What we write to and read from, and which does not block. With a terminal, `in` and `out` are
	 * the same, and there is no `err` (-1). */
	int in, out, err;
	/* When it reads as ended, the command runs. Else it says why it could not be started. */
	int report;
};

/* 0, or a negative errno with a sentence. The strings are needed only for the call. */
int spawn(const struct spawn *plan, struct spawned *ret_spawned, struct ivshmem_error *reterr);

/*
 * Read the report: 0: the command runs, -EAGAIN: it is too early to tell, or a negative errno: it has
 * not been started. Then `reterr` says why, and `*ret_status` is the exit status for it.
 */
int spawn_report(int report, int *ret_status, struct ivshmem_error *reterr);

/* Another size for the terminal. */
void spawn_resize(int terminal, uint16_t rows, uint16_t columns);

#endif
