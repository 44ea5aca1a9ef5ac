/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_TABLE_H
#define TOP_TABLE_H

/* Columns of a table, as wide as there is room, and without those that there is no room for. */

#include "top/cells.h"

struct column {
	const char *title;
	unsigned least;   /* as wide as this at least, and wider if there is room; 0: left out */
	unsigned most;    /* not wider than this */
	unsigned dropped; /* those with the highest number are left out first */
	bool right;       /* numbers */
};

#define COLUMNS_MAX 12

struct table {
	const struct column *columns;
	unsigned n;
	unsigned widths[COLUMNS_MAX]; /* 0: left out */
};

/* Choose the widths; `columns` must stay. */
void table_lay_out(struct table *table, const struct column *columns, unsigned n, unsigned width);

/* A line of cells, one for each column, also for those that are left out. */
void table_line(const struct table *table, const char *const *cells, struct line *ret_line);

/* The titles, the one of `marked` with a star; -1: none. */
void table_titles(const struct table *table, int marked, struct line *ret_line);

#endif
