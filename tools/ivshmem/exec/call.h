/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_EXEC_CALL_H
#define IVSHMEM_EXEC_CALL_H

/* A command that an agent runs for us: our stdin, stdout and stderr are the command's. */

#include "cli.h"

#include <ivshmem/channel.h>

/* Run it to its end, over a channel on which the request was sent. Returns the exit status that we
 * should have. `terminal`: the command has a terminal. */
int call_run(struct ivshmem_channel *channel, const char *name, bool terminal);

#endif
