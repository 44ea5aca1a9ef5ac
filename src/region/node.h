/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef REGION_NODE_H
#define REGION_NODE_H

/* The NUMA node that shared memory comes from. */

#include <stdint.h>

struct ivshmem_error;

/* The largest number of a node that a kernel may have. */
#define NODE_MAX 1023

/*
 * Have the memory of `fd`, `what` for the user, come from `node` only, whoever touches it first. What is
 * allocated already stays where it is.
 */
int node_bind(int fd, uint64_t size, unsigned node, const char *what, struct ivshmem_error *reterr);

#endif
