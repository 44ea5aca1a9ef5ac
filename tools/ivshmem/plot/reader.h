/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PLOT_READER_H
#define PLOT_READER_H

/* Reads a recording (ivshmem(1)) from somebody who is not trusted. */

#include "plot/data.h"

#include <stdio.h>

struct ivshmem_error;

/* The longest line. */
#define LINE_MAX_BYTES (1024 * 1024)

/*
 * Returns 0, or a negative errno with a sentence that names the line. `*ret_cut` says whether the last line is
 * not complete, as after a kill; it is left out.
 */
int recording_read(FILE *file, struct data *data, bool *ret_cut, struct ivshmem_error *reterr);

/* One line; the first one has the number 1. For tests. */
int recording_read_line(struct data *data, unsigned long number, const char *text, size_t length,
	struct ivshmem_error *reterr);

#endif
