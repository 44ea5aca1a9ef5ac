/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_ATTACH_H
#define IVSHMEM_ATTACH_H

/*
 * Attaching to a target. It blocks as long as the other side likes, up to --connect-timeout.
 *
 * Theory of operation: a command that must go on with signals, with the rings of the client that it
 * still has, or with the user's input attaches in the background. A thread calls ivshmem_attach() and
 * writes to an eventfd when that returns. What the library says meanwhile waits for the command's
 * thread. Nobody can stop the library, so an attempt that nobody needs any more is left behind. Only
 * a program that ends now may do that.
 */

#include "cli.h"

#include <ivshmem/client.h>

#include <stdbool.h>

struct attach_config {
	const struct cli *cli;
	const char *target;
	bool looks; /* take no id: use the server's socket for observers, if it has one */
	int hears; /* the vector to hear, or IVSHMEM_ANY_VECTOR for all; who only looks hears none */
	const struct ivshmem_ops *ops;
	void *data;
};

/* 0, or -errno and the reason. */
int attach(const struct attach_config *config, struct ivshmem_client **ret_client,
	struct ivshmem_error *reterr);

/* Whether to try again, because a server or memory that is missing may still come. */
bool attach_may_succeed_later(const char *target, int r);

struct attaching;

/* Begin in the background. What config points to must stay valid. 0, or -errno and the reason. */
int attaching_start(struct attaching **ret_attaching, const struct attach_config *config,
	struct ivshmem_error *reterr);

/* Readable when attaching_finish() will not block. */
int attaching_fd(const struct attaching *attaching);

/* Wait for the end, hand what the library said to config->ops->log, free the attempt, and return what
 * attach() would. */
int attaching_finish(struct attaching *attaching, struct ivshmem_client **ret_client,
	struct ivshmem_error *reterr);

/*
 * For config->ops->log: whether this is the thread of an attempt. If so, the message is kept, and
 * attaching_finish() hands it to config->ops->log again.
 */
bool attaching_keeps(enum ivshmem_log_level level, const char *message);

/*
 * Leave the attempt behind. config->data must stay valid until the program ends, so call this once, at
 * the end. NULL is allowed.
 */
void attaching_abandon(struct attaching *attaching);

#endif
