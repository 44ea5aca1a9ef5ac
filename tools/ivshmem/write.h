/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_WRITE_H
#define IVSHMEM_WRITE_H

#include "session.h"

#include <stddef.h>

/* Write everything or nothing. */
enum status memory_write(
	const struct session *session, uint64_t offset, const void *bytes, size_t length);

/* Say that the memory can only be read, and why, for a command that had to `what` ("write to"). Returns
 * STATUS_FAILURE. */
enum status fail_read_only(const struct session *session, const char *what);

#endif
