/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_PART_H
#define IVSHMEM_COPY_PART_H

/*
 * A file that is being received. It is called .NAME.ivshmem-part until it is complete, and gets its
 * name then, in place of a file or a link that had it. So nobody who opens NAME sees half a file, and what an
 * interrupted copy leaves can be recognised, and be gone on with.
 *
 * Two copies to one name cannot use one part file: the first one has it locked.
 */

#include "tree.h"

#include <stdbool.h>

#define PART_SUFFIX ".ivshmem-part"

struct part {
	int folder; /* borrowed */
	int fd;     /* -1: there is no such file */
	char name[NAME_MAX + 1], part_name[NAME_MAX + 1];
};

/* The name of the part file of `name`. */
void part_name(const char *name, char ret_part_name[NAME_MAX + 1]);

/* Make the file, or with `resume` take what is there, of which `*ret_size` says how much it is. -EBUSY:
 * another copy uses it; or another negative errno. */
int part_open(struct part *part, int folder, const char *name, bool resume, uint64_t *ret_size);

/* Give it its size, its owner (if wanted), mode, time, and its name. On failure, it is gone. */
int part_finish(struct part *part, const struct tree_entry *entry, bool owner, uint64_t size);

/* Remove it. */
void part_remove(struct part *part);

/* Leave it for a copy that goes on with it. */
void part_leave(struct part *part);

/* A symbolic link gets its name in the same way. */
int part_link(int folder, const char *name, const char *target, const struct tree_entry *entry,
	bool owner);

/* Set owner (if wanted), mode and time of what is open. */
int part_attributes(int fd, const struct tree_entry *entry, bool owner);

#endif
