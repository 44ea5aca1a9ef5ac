/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_EXTENTS_H
#define IVSHMEM_COPY_EXTENTS_H

/* Where a file has data, and where holes. */

#include <stdbool.h>
#include <stdint.h>

struct stat;

struct extents {
	int fd; /* borrowed */
	uint64_t offset, size;
	uint64_t data_end; /* there is data from `offset` to here, as far as we know */
	bool may_have_holes;
};

/* From `offset` on. A file that says it is empty may have bytes nevertheless, as those of /proc. */
void extents_begin(struct extents *extents, int fd, const struct stat *stat, uint64_t offset);

/* What comes next: how many bytes, and whether they are a hole. 0: the end. The caller advances
 * `offset`. */
uint64_t extents_next(struct extents *extents, bool *ret_hole);

#endif
