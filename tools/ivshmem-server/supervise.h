/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_SUPERVISE_H
#define SERVER_SUPERVISE_H

/*
 * ivshmem-server --supervise: a parent for the server, where there is no systemd that keeps the
 * group while the server is replaced. It speaks the same protocol (common/supervisor.h).
 */

#include <stdbool.h>

struct log;

/* Is this process the server that a parent of ours has started? */
bool supervise_is_server(void);

/* Run this program again, with the same arguments, as the server. Returns the exit status at the
 * end. */
int supervise(char **argv, const struct log *log);

#endif
