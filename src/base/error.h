/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/*
 * A failure, with a sentence for the user. Functions return a negative errno. A function whose
 * failures need words has `struct ivshmem_error *reterr` as its last parameter, which may be NULL;
 * it fills it in on failure only.
 */

struct ivshmem_error; /* ivshmem/common.h */

/*
 * Fill in `reterr` and return `code`, a negative errno, so that `return error_set(...)` does both.
 * The sentence begins with what failed, quotes the subject, names the remedy, and has no full stop.
 */
int error_set(struct ivshmem_error *reterr, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
