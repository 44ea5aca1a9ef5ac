/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COMMON_H
#define IVSHMEM_COMMON_H

/*
 * What the libraries' headers have in common.
 *
 * A struct whose first member is struct_size grows with time. Whoever passes one, or has one filled in,
 * sets struct_size to its sizeof, and what is not used to 0, which is always what it was before the
 * member existed. So any program works with any library:
 *
 *	an older program's struct is smaller	what it lacks is 0
 *	a newer program's struct is larger	the rest must be 0, and is filled in with 0
 *
 * Otherwise it is -E2BIG: something is set that this library does not know. -EINVAL: struct_size is not
 * set, or is less than in the first version.
 */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Why something failed: the negative errno, and one sentence for a human, which names the
 * remedy. */
struct ivshmem_error {
	int code;
	char message[512];
};

enum ivshmem_log_level {
	IVSHMEM_LOG_WARNING, /* something is wrong, but the library goes on */
	IVSHMEM_LOG_DEBUG
};

/* A word of the memory, and what to store there. */
struct ivshmem_store {
	uint64_t offset; /* in bytes, a multiple of 8 */
	uint64_t value;  /* little-endian in the memory */
};

/* Whom to ring. */
struct ivshmem_target {
	uint16_t peer;
	uint16_t vector;
};

#ifdef __cplusplus
}
#endif

#endif
