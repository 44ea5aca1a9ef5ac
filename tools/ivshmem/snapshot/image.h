/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SNAPSHOT_IMAGE_H
#define IVSHMEM_SNAPSHOT_IMAGE_H

/*
 * A file that gets the content of the memory: the memory's bytes and nothing else, so that any program
 * can map it. It has another name until it is complete and on the disk. So its name never leads to half
 * an image, whatever ends us.
 */

#include "cli.h"
#include "copy/part.h"

#include <stdbool.h>
#include <stdint.h>

struct image {
	const char *path;
	const char *remedy; /* if the name is taken; NULL: what has the name is replaced */
	int folder;
	struct part part; /* part.fd is the file */
};

/* Begin. Complains if the name leads to `memory_fd` itself, or if it is taken and there is a
 * `remedy` for that. */
enum status image_begin(struct image *image, const char *path, const char *remedy, int memory_fd);

/* Give the file its name, once its bytes are on the disk. On failure, complains and removes it. */
enum status image_finish(struct image *image);

/* Remove it, if it has not been finished. */
void image_discard(struct image *image);

/* Whether two descriptors are of one file. */
bool image_is_same(int fd, int other);

#endif
