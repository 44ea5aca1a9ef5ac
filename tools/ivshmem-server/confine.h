/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_CONFINE_H
#define SERVER_CONFINE_H

/* What a running server still needs, for its sandbox (common/sandbox.h). */

#include <common/sandbox.h>

struct ivshmem_error;
struct log;
struct options;
struct region;
struct sockets;

extern const struct sandbox_call server_calls[];

/* At the start, before anything is set up. */
int confine_begin(struct sandbox *sandbox, const struct options *options, const struct log *log,
	struct ivshmem_error *reterr);
/* Sockets and memory are there, and nobody is served yet. */
int confine(struct sandbox *sandbox, const struct options *options, const struct sockets *sockets,
	const struct region *region, const struct log *log, struct ivshmem_error *reterr);

#endif
