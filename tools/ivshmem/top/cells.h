/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_CELLS_H
#define TOP_CELLS_H

/*
 * Text of a certain width on a terminal. Columns are those of the locale: setlocale() says whether the text
 * may be more than ASCII. What a terminal would obey, or does not show, becomes '?'.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_COLUMNS_MAX 400
#define LINE_BYTES_MAX   (4 * LINE_COLUMNS_MAX + 1)

struct line {
	char text[LINE_BYTES_MAX];
	size_t length;    /* bytes */
	unsigned columns; /* that it takes */
};

/* Add as much of the text as fits into so many columns; a '~' ends what does not fit. */
void line_put(struct line *line, const char *text, unsigned columns);
/* Add blanks up to this column. */
void line_fill(struct line *line, unsigned column);
/* Add the text at the right end of so many columns. */
void line_put_right(struct line *line, const char *text, unsigned columns);

#define CELL_MAX 32
/* "1023", "1.2 KiB", "12 GiB"; "-" if it is below 0. At most 8 columns. Returns `cell`. */
const char *cell_bytes(double bytes, char cell[CELL_MAX]);
/* "12", "9999", "12.3 k", "1.2 M"; "-". At most 7 columns. */
const char *cell_count(double count, char cell[CELL_MAX]);
/* "0.0 s", "59.9 s", "12 min", "3.5 h", "12 d"; "-". At most 6 columns. */
const char *cell_seconds(double seconds, char cell[CELL_MAX]);
/* "56%"; "-". */
const char *cell_percent(double part, char cell[CELL_MAX]);
/* "####......", as wide as `columns`; "" if `part` is below 0. */
const char *cell_bar(double part, unsigned columns, char cell[CELL_MAX]);
/* The time of day, or the date if it is not that of `now`; "-" for 0. At most 10 columns. */
const char *cell_date(double date, double now, char cell[CELL_MAX]);

#endif
