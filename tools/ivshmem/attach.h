/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_ATTACH_H
#define IVSHMEM_ATTACH_H

/*
 * Attaching to a target. It blocks as long as the other side likes, up to --connect-timeout.
 *
 * Theory of operation: who must not be kept from signals, from the rings of the client it still has, or
 * from the user's input attaches in the background. A thread is in ivshmem_attach() and rings an eventfd
 * when it is back; what the library said meanwhile waits for the owner's thread. A try that nobody
 * waits for any more is left behind, because the library cannot be stopped: that is for programs that
 * end.
 */

#include "cli.h"

#include <ivshmem/client.h>

#include <stdbool.h>

struct attach_config {
	const struct cli *cli;
	const char *target;
	bool looks; /* needs no id: through the server's socket for observers, if it has one */
	const struct ivshmem_ops *ops;
	void *data;
};

/* 0, or -errno and the reason. */
int attach(const struct attach_config *config, struct ivshmem_client **ret_client,
	struct ivshmem_error *reterr);

struct attaching;

/* Begin in the background. What config points to must last. 0, or -errno and the reason. */
int attaching_start(struct attaching **ret_attaching, const struct attach_config *config,
	struct ivshmem_error *reterr);

/* Readable when attaching_finish() will not block. */
int attaching_fd(const struct attaching *attaching);

/* Wait for the end, hand what was said to config->ops->log, free it, and return what attach() returned. */
int attaching_finish(struct attaching *attaching, struct ivshmem_client **ret_client,
	struct ivshmem_error *reterr);

/*
 * For config->ops->log: whether this is the thread of a try. Then the message is kept, and comes again
 * in attaching_finish().
 */
bool attaching_keeps(enum ivshmem_log_level level, const char *message);

/*
 * Do not wait, and let config->data be there for ever. Once in the life of a program, which ends now.
 * NULL is allowed.
 */
void attaching_abandon(struct attaching *attaching);

#endif
