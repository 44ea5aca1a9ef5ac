/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_TERMINAL_H
#define COMMON_TERMINAL_H

/* A service's log on a terminal, or on whatever reads stdout and stderr instead of one. */

#include <base/log.h>

#include <unistd.h>

struct terminal {
	const char *program;
	unsigned long lost[STDERR_FILENO + 1]; /* messages that stdout or stderr had no room for */
};

/*
 * log::write, with a struct terminal as data: errors and warnings go to stderr, the rest to stdout.
 * Clients cause messages, so none may wait for whoever reads them: a full pipe would stop the
 * service.
 */
void terminal_write(void *data, enum log_level level, const char *message);

#endif
