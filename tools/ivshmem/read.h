/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_READ_H
#define IVSHMEM_READ_H

#include "session.h"

/* LENGTH where none was given: to the end of the memory. */
#define MEMORY_TO_END UINT64_MAX

/* With these, --json gives a JSON document instead. */
enum status memory_dump(struct session *session, uint64_t offset, uint64_t length);
/* Up to a NUL, or `length` bytes. */
enum status memory_text(struct session *session, uint64_t offset, uint64_t length);

#endif
