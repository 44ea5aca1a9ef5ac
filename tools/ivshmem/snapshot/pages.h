/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SNAPSHOT_PAGES_H
#define IVSHMEM_SNAPSHOT_PAGES_H

/* What snapshots and restoring have in common: pages that are zero are holes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES_SIZE  4096
#define PAGES_BLOCK (UINT64_C(1) << 20) /* so much is in private memory at a time */

/* How many bytes from `bytes` on are alike: whole pages that are zero, or whole pages that are not. */
size_t pages_run(const uint8_t *bytes, size_t length, bool *ret_zero);

/* Read from a file until there is no more. The number of bytes, or -errno. */
int64_t pages_read(int fd, uint64_t offset, void *buffer, size_t length);

/* 0, or -errno. */
int pages_write(int fd, uint64_t offset, const void *buffer, size_t length);

#endif
