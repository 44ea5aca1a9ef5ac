/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_TERMINAL_H
#define COMMON_TERMINAL_H

/* A service's log on stdout and stderr, which may be a terminal or a pipe. */

#include <base/log.h>

#include <unistd.h>

struct terminal {
	const char *program;
	unsigned long lost[STDERR_FILENO + 1]; /* messages for which the descriptor had no room */
};

/*
 * log::write, with a struct terminal as data. Errors and warnings go to stderr, the rest to stdout.
 * Clients cause messages, so a message must not wait for its reader: a full pipe would stop the
 * service.
 */
void terminal_write(void *data, enum log_level level, const char *message);

#endif
