/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUNCTION_RECORD_H
#define FUNCTION_RECORD_H

/*
 * The function, as bytes, for a process that goes on when this one was killed. Descriptors are there
 * by their numbers, because both processes have the same. A stream of migration is not there: a
 * function that was reading or writing one comes back in the state ERROR.
 */

#include <function/function.h>

#include <stdbool.h>
#include <stddef.h>

/* No function has more. */
#define FUNCTION_RECORD_MAX 65536

size_t function_record_size(const struct function *function);

/* Whether the record may be another one than the one written last. */
bool function_is_touched(const struct function *function);

void function_write(struct function *function, void *buffer);

/* Into a function that is new and attached to its member. Takes the descriptors over. */
int function_read(
	struct function *function, const void *buffer, size_t size, struct ivshmem_error *reterr);

/* Call `note` for each descriptor in a record. */
void function_list(const void *buffer, void (*note)(int fd, void *data), void *data);

#endif
