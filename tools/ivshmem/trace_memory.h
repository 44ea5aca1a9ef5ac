/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_TRACE_MEMORY_H
#define IVSHMEM_TRACE_MEMORY_H

/*
 * The memory of another process, or of one that has died and left a core. Everything in it may be a
 * lie.
 */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A mapping, or a part of a core. */
struct segment {
	uint64_t address;
	uint64_t size;
	uint64_t offset;  /* in the core */
	bool is_searched; /* it may hold the data of a program or a library */
};

struct traced_memory {
	int fd;
	bool is_core;
	struct segment *segments;
	unsigned n_segments;
};

/* 0, or a negative errno and the sentence. */
int traced_memory_open(struct traced_memory *memory, pid_t pid, struct ivshmem_error *reterr);
int traced_memory_open_core(
	struct traced_memory *memory, const char *path, struct ivshmem_error *reterr);
void traced_memory_close(struct traced_memory *memory);

/* Copy what is at `address`. Returns 0, -EFAULT if it is not there, or -ESRCH if the process ended. */
int traced_memory_read(
	const struct traced_memory *memory, uint64_t address, void *buffer, size_t length);

#endif
