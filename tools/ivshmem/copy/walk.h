/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_WALK_H
#define IVSHMEM_COPY_WALK_H

/*
 * Walks through trees of files, a step at a time.
 *
 * The operands are followed if they are symbolic links. What is in folders is not: links there are
 * links. Each folder is opened relative to the one that it is in, so a tree that changes meanwhile does
 * not lead elsewhere.
 */

#include "copy.h"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>

enum walk_step {
	WALK_FOLDER, /* what comes is in it, until WALK_UP */
	WALK_UP,
	WALK_FILE, /* open, in `fd`, which the caller takes */
	WALK_LINK,
	WALK_PROBLEM, /* `problem` says what could not be read */
	WALK_NOTHING, /* this step led to nothing worth telling */
	WALK_END,
};

struct walk {
	const char *const *operands; /* borrowed, up to a NULL */
	bool counting;               /* files are not opened */

	DIR *folders[COPY_DEPTH_MAX];
	size_t path_lengths[COPY_DEPTH_MAX]; /* of the path of each */
	unsigned depth;
	bool unreadable; /* the folder that we are in: read no more of it */

	/* What the last step found. */
	char path[PATH_MAX]; /* as people know it */
	char name[NAME_MAX + 1];
	char target[PATH_MAX];
	struct stat stat;
	int fd;
	char problem[PATH_MAX + 256];
};

void walk_begin(struct walk *walk, const char *const *operands, bool counting);
enum walk_step walk_next(struct walk *walk);
void walk_end(struct walk *walk);

#endif
