/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_PROGRESS_H
#define IVSHMEM_PROGRESS_H

/* A line on stderr that says how far we are, if that is a terminal and it takes long. */

#include "cli.h"

struct progress {
	const char *what; /* "sent", "received", "round trips"; NULL: show nothing */
	uint64_t start, next;
	bool shown;
};

void progress_begin(struct progress *progress, const struct cli *cli, const char *what);
void progress_show(struct progress *progress, uint64_t bytes);
/* The same, with how far we are of how much it will be, unless that is 0. */
void progress_show_part(struct progress *progress, uint64_t bytes, uint64_t done, uint64_t total);
/* The same for what is counted. */
void progress_count(struct progress *progress, uint64_t n);
/* Make the line empty. */
void progress_end(struct progress *progress);

#endif
