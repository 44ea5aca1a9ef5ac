/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_VALUES_H
#define IVSHMEM_VALUES_H

/*
 * Numbers as users type them. Each function names `what` it is about in its message to stderr and
 * then returns -EINVAL; a NULL text leaves the default in *ret_value alone.
 */

#include <stdbool.h>
#include <stdint.h>

int value_uint(const char *what, const char *text, unsigned min, unsigned max, unsigned *ret_value);
int value_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);
int value_size(const char *what, const char *text, uint64_t *ret_bytes);

/* Seconds in, nanoseconds out; at most a year. */
int value_duration(const char *what, const char *text, uint64_t *ret_ns);

/* The same, but not 0: how long to pause before something is tried again. */
int value_interval(const char *what, const char *text, uint64_t *ret_ns);

/* Whom to ring: PEER, PEER:VECTOR, PEER:all, all or all:VECTOR. */
struct bell {
	bool all_peers; /* all but ourselves */
	bool all_vectors;
	uint16_t peer;
	unsigned vector;
};

int value_bell(const char *text, struct bell *ret_bell);

/* The same where it must be one vector of one peer. */
int value_single_bell(const char *text, struct bell *ret_bell);

#endif
