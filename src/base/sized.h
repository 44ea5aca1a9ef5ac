/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_SIZED_H
#define BASE_SIZED_H

/*
 * Structs of callers that were compiled with another version of our headers. The first member,
 * size_t struct_size, is the size that the caller knows. A struct grows by members at its end,
 * never into padding, and a member that is 0 means what it meant before there was such a member. As
 * the kernel does (copy_struct_from_user()):
 *
 *	an older, smaller struct	what it lacks is 0
 *	a newer, larger one		is accepted if all that we do not know is 0
 */

#include <stddef.h>

struct ivshmem_error;

/* Where a struct ended in its first version, with `last` as its last member. No caller has less. */
#define SIZED_FIRST(type, last) (offsetof(type, last) + sizeof(((type *)NULL)->last))

/* Check the caller's struct, and copy it into ours, which is a `type`. */
#define SIZED_IN(type, last, to, from, reterr)                                                     \
	sized_in((type *){to}, sizeof(type), SIZED_FIRST(type, last), (const type *){from}, #type, \
		reterr)

/* Check the struct_size of a caller's struct that we are to fill in. */
#define SIZED_CHECK(type, last, to, reterr)                                                        \
	sized_check((to)->struct_size, SIZED_FIRST(type, last), #type, reterr)

/* -EINVAL: struct_size was not set. -E2BIG: it cannot be that large. */
int sized_check(size_t struct_size, size_t first, const char *name, struct ivshmem_error *reterr);

/* 0, or an error as of sized_check(), or -E2BIG: the caller has set something that we do not know.
 * `to` is untouched then. */
int sized_in(void *to, size_t size, size_t first, const void *from, const char *name,
	struct ivshmem_error *reterr);

/* Fill in the caller's struct of `room` bytes from ours: as much as it has room for, and 0 in the
 * members that we do not know. */
void sized_out(void *to, size_t room, const void *from, size_t size);

#endif
