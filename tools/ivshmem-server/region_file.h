/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_REGION_FILE_H
#define SERVER_REGION_FILE_H

/*
 * The file of a region: ivshmem-region(5). Its keys are the long options of ivshmem-server, so what comes
 * out is the command line of the region's server.
 */

#include <options.h>

#include <stdbool.h>
#include <stddef.h>

struct ivshmem_error;

/* The longest name of a region, with \0. */
#define REGION_NAME_MAX 65

struct region_file {
	char name[REGION_NAME_MAX];
	unsigned argc;
	char **argv;            /* ends with NULL; malloc's, as its strings */
	unsigned *lines;        /* where each of argv was written; 0: nowhere */
	struct options options; /* what argv means; its texts are in argv */
};

/*
 * `path` is for the messages, which begin with it and the line. `runtime_dir` is where the socket is if the
 * file does not say. 0, -EINVAL, -ENOMEM. region_file_done() is needed on success only.
 */
int region_file_parse(const char *text, size_t size, const char *path, const char *name,
	const char *runtime_dir, struct region_file *ret_file, struct ivshmem_error *reterr);

/* The same, from the file. Any other errno if it cannot be read. */
int region_file_read(const char *path, const char *name, const char *runtime_dir,
	struct region_file *ret_file, struct ivshmem_error *reterr);

void region_file_done(struct region_file *file);

/* Is this the command line `argv`? */
bool region_file_is(const struct region_file *file, char **argv);

/* Would its server go on with the group of a server with the command line `argv`? 0, or -EINVAL and what
 * has to be done. */
int region_file_follows(const struct region_file *file, char **argv, const char *path,
	struct ivshmem_error *reterr);

/* Gives the command line away: the caller frees it. */
char **region_file_take(struct region_file *file);

#endif
