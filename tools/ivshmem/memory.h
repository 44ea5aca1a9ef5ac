/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_MEMORY_H
#define IVSHMEM_MEMORY_H

#include "session.h"

#include <stddef.h>

/* LENGTH where none was given: to the end of the memory. */
#define MEMORY_TO_END UINT64_MAX

/* With these, --json gives a JSON document instead. */
enum status memory_dump(struct session *session, uint64_t offset, uint64_t length);
/* Up to a NUL, or `length` bytes. */
enum status memory_text(struct session *session, uint64_t offset, uint64_t length);

/* Everything or nothing. */
enum status memory_write(
	const struct session *session, uint64_t offset, const void *bytes, size_t length);

/* Say that [offset, offset + length) is not within the memory. Returns STATUS_FAILURE. */
enum status memory_fail_range(const struct session *session, uint64_t offset, uint64_t length);

#endif
