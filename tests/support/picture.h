/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PICTURE_H
#define PICTURE_H

#include <plot/chart.h>

#include <stdio.h>

/* The picture of a recording as a text, to be freed. NULL: there is no memory. */
static inline char *
picture_of(const struct data *data, const char *title)
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	if (!file)
		return NULL;
	chart_draw(file, data, title);
	fclose(file);
	return text;
}

#endif
