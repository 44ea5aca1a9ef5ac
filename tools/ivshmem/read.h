/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_READ_H
#define IVSHMEM_READ_H

#include "session.h"

/* The length if none was given: up to the end of the memory. */
#define MEMORY_TO_END UINT64_MAX

/* Print a part of the memory, or a JSON document with it. */
enum status memory_dump(struct session *session, uint64_t offset, uint64_t length);
/* The same as text, up to a NUL or for `length` bytes. */
enum status memory_text(struct session *session, uint64_t offset, uint64_t length);

#endif
