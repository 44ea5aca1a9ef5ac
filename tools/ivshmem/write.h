/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_WRITE_H
#define IVSHMEM_WRITE_H

#include "session.h"

#include <stddef.h>

/* Write everything or nothing. */
enum status memory_write(
	const struct session *session, uint64_t offset, const void *bytes, size_t length);

#endif
