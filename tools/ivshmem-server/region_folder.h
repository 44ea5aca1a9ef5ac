/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_REGION_FOLDER_H
#define SERVER_REGION_FOLDER_H

/*
 * The directory with the files of all regions. DIR/NAME.ini is region NAME; other files mean nothing. A
 * file is good, or says what is wrong with it. Two files with the same socket are both wrong.
 */

#include <region_file.h>

#include <ivshmem/common.h>

#include <stddef.h>

struct region_entry {
	struct region_file file;    /* its name is there even if the rest is not */
	struct ivshmem_error error; /* code 0: the file is good */
	char *path;
};

struct region_folder {
	struct region_entry *entries; /* by name */
	size_t n;
	size_t n_wrong;
};

/* 0, or a negative errno if the directory as a whole cannot be read. */
int region_folder_read(const char *directory, const char *runtime_dir,
	struct region_folder *ret_folder, struct ivshmem_error *reterr);
void region_folder_done(struct region_folder *folder);

/* The region, or NULL. */
struct region_entry *region_folder_find(const struct region_folder *folder, const char *name);

#endif
