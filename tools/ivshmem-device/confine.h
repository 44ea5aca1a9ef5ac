/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_CONFINE_H
#define DEVICE_CONFINE_H

/* What a running device still needs, for its sandbox (common/sandbox.h). */

#include <common/sandbox.h>

struct device_options;
struct ivshmem_error;
struct listener;
struct log;

extern const struct sandbox_call device_calls[];

/* Stage 1. */
int confine_begin(struct sandbox *sandbox, const struct device_options *options,
	const struct log *log, struct ivshmem_error *reterr);

/* Socket and memory are there, and no VMM is served yet. */
int confine(struct sandbox *sandbox, const struct device_options *options,
	const struct listener *listener, const struct log *log, struct ivshmem_error *reterr);

#endif
