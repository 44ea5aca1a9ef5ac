/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/table.h"

#include <stdio.h>

static unsigned
width_of(const struct table *table)
{
	unsigned width = 0;

	for (unsigned i = 0; i < table->n; i++)
		if (table->widths[i] > 0)
			width += table->widths[i] + (width > 0 ? 1 : 0);
	return width;
}

/* Leave out the one that matters least. The last one that is left becomes as narrow as it has to. */
static void
drop_one(struct table *table, unsigned width)
{
	unsigned least = 0, left = 0;

	for (unsigned i = 0; i < table->n; i++) {
		if (table->widths[i] == 0)
			continue;
		if (left++ == 0 || table->columns[i].dropped > table->columns[least].dropped)
			least = i;
	}
	table->widths[least] = left > 1 ? 0 : width;
}

/* One more column for each that wants it. False: none does, or nothing is left. */
static bool
widen(struct table *table, unsigned *left)
{
	bool widened = false;

	for (unsigned i = 0; i<table->n && * left> 0; i++) {
		if (table->widths[i] == 0 || table->widths[i] >= table->columns[i].most)
			continue;
		table->widths[i]++;
		--*left;
		widened = true;
	}
	return widened;
}

void
table_lay_out(struct table *table, const struct column *columns, unsigned n, unsigned width)
{
	unsigned left;

	*table = (struct table){.columns = columns, .n = n};
	for (unsigned i = 0; i < n; i++)
		table->widths[i] = columns[i].least;
	while (width_of(table) > width)
		drop_one(table, width);
	left = width_of(table) < width ? width - width_of(table) : 0;
	while (widen(table, &left))
		;
}

void
table_line(const struct table *table, const char *const *cells, struct line *ret_line)
{
	*ret_line = (struct line){.length = 0};
	for (unsigned i = 0; i < table->n; i++) {
		unsigned end;

		if (table->widths[i] == 0)
			continue;
		if (ret_line->columns > 0)
			line_fill(ret_line, ret_line->columns + 1);
		end = ret_line->columns + table->widths[i];
		if (table->columns[i].right)
			line_put_right(ret_line, cells[i], table->widths[i]);
		else
			line_put(ret_line, cells[i], table->widths[i]);
		line_fill(ret_line, end);
	}
}

void
table_titles(const struct table *table, int marked, struct line *ret_line)
{
	char star[CELL_MAX];
	const char *cells[COLUMNS_MAX];

	for (unsigned i = 0; i < table->n; i++) {
		cells[i] = table->columns[i].title;
		if ((int)i == marked) {
			snprintf(star, sizeof(star), "%s*", cells[i]);
			cells[i] = star;
		}
	}
	table_line(table, cells, ret_line);
}
