/* SPDX-License-Identifier: BSD-2-Clause */
#include "extents.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAT_BLOCK 512

void
extents_begin(struct extents *extents, int fd, const struct stat *stat, uint64_t offset)
{
	uint64_t size = (uint64_t)stat->st_size;

	*extents = (struct extents){
		.fd = fd,
		.offset = offset,
		.size = size > 0 ? size : INT64_MAX,
		.may_have_holes = size > 0 && (uint64_t)stat->st_blocks < size / STAT_BLOCK,
	};
	if (!extents->may_have_holes)
		extents->data_end = extents->size;
}

static uint64_t
at_most(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t
extents_next(struct extents *extents, bool *ret_hole)
{
	off_t data, hole;

	*ret_hole = false;
	if (extents->offset >= extents->size)
		return 0;
	if (extents->offset < extents->data_end)
		return extents->data_end - extents->offset;
	data = lseek(extents->fd, (off_t)extents->offset, SEEK_DATA);
	if (data < 0 && errno != ENXIO) {
		/* Its file system does not tell. */
		extents->data_end = extents->size;
		return extents->size - extents->offset;
	}
	if (data < 0 || (uint64_t)data > extents->offset) {
		*ret_hole = true;
		return (data < 0 ? extents->size : at_most((uint64_t)data, extents->size)) -
		       extents->offset;
	}
	hole = lseek(extents->fd, data, SEEK_HOLE);
	extents->data_end = hole > data ? at_most((uint64_t)hole, extents->size) : extents->size;
	return extents->data_end - extents->offset;
}
