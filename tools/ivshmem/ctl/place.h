/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CTL_PLACE_H
#define CTL_PLACE_H

/* Where control sockets are. */

#include "cli.h"

#include <limits.h>
#include <stddef.h>

#define PLACES_MAX 1024

struct place {
	char name[NAME_MAX + 1]; /* what an operator calls it */
	char path[PATH_MAX];     /* of the control socket */
};

/* All control sockets in a directory, by their names; to be freed. Returns how many, or -errno. */
int places_list(const char *directory, struct place **ret_places);

/*
 * The control socket that an operator means: the path of it, the path of the socket that it is beside,
 * or a name in `directory`. NULL: the target of the command line or the environment, or the only one in
 * `directory`. Prints what is wrong.
 */
enum status place_find(
	const struct cli *cli, const char *directory, const char *text, char ret_path[PATH_MAX]);

#endif
