/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_REGION_LINES_H
#define SERVER_REGION_LINES_H

/* The lines of an INI file with one section, [region]. */

#include <stddef.h>

struct ivshmem_error;

/* Gets each KEY = VALUE, in order. A failure ends the reading, and the sentence says nothing of the
 * line. */
typedef int (*region_line_fn)(void *data, unsigned line, const char *key, const char *value,
	struct ivshmem_error *reterr);

/*
 * 0, or -EINVAL or what `fn` returned. `*ret_line` is then the line that is wrong, 0 if it is the whole
 * text.
 */
int region_lines(const char *text, size_t size, region_line_fn fn, void *data, unsigned *ret_line,
	struct ivshmem_error *reterr);

#endif
