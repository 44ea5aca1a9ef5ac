/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COPY_PLACE_H
#define IVSHMEM_COPY_PLACE_H

/*
 * Where a receiver puts things: a folder that it was told by its user, and the folders in it that it is
 * in now.
 *
 * Nothing that the sender says leads out of it. A name is the name of one thing in one folder, and each
 * folder is opened in the one that it is in, by such a name, and not if that is a symbolic link. So a
 * link that was just received is not followed either.
 */

#include "copy.h"
#include "tree.h"

#include <limits.h>

struct ivshmem_error;

struct place_folder {
	int fd;
	bool attributes; /* of the sender; they are set at last, so that we may write meanwhile */
	bool ours;       /* we have made it */
	struct tree_entry entry;
	size_t path_length; /* of the path that it is in */
};

struct place {
	char path[PATH_MAX]; /* for people: of the folder that we are in, or what we have there */
	size_t base_length;  /* of the first folder's, without a slash */
	/* The first one is the user's. Nothing is in it yet if there is none. */
	struct place_folder folders[COPY_DEPTH_MAX + 1];
	unsigned n;
	char rename[NAME_MAX +
		    1]; /* the one thing that comes gets this name; empty: it has its own */
	bool renamed;
	unsigned skipped; /* how deep we are in a folder that could not be made */
};

/* `many`: several things come, so it must be a folder. Fails with a sentence. */
int place_open(struct place *place, const char *to, bool many, struct ivshmem_error *reterr);
void place_close(struct place *place);

/* The folder that we are in. */
int place_folder(const struct place *place);

/* What is called `name` where we are: sets the path, and, for the first thing, the name that it gets.
 * -EPROTO: a second thing has come where there is a name for one only. */
int place_name(struct place *place, char name[NAME_MAX + 1]);

/* Go into a folder, which is made if needed. 0, -EPROTO, or another negative errno, and then what comes
 * up to the way back is to be left out. */
int place_enter(struct place *place, const struct tree_record *record);

/* Go back. `*ret_problem`: why it could not get its attributes, or 0. 0, or -EPROTO: we are not in a
 * folder. */
int place_up(struct place *place, bool owner, int *ret_problem);

#endif
