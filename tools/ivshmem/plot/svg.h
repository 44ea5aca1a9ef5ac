/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PLOT_SVG_H
#define PLOT_SVG_H

/*
 * Pieces of an SVG picture. Colours and fonts are classes of the style sheet, which has a light and a dark
 * set; where a viewer cannot tell which one is wanted, it is the light one, on a white background.
 */

#include <stdbool.h>
#include <stdio.h>

/* The classes of lines: "c0" ... "c7" of series, "cx" of all others. */
#define SVG_COLOURS 8

void svg_begin(FILE *file, double width, double height, const char *title);
void svg_end(FILE *file);

/* Text, escaped. `anchor` is "start", "middle" or "end". At most so many characters; 0: all of them. */
void svg_text(FILE *file, double x, double y, const char *class, const char *anchor, unsigned most,
	const char *text);

void svg_line(FILE *file, double x1, double y1, double x2, double y2, const char *class);
void svg_rect(FILE *file, double x, double y, double width, double height, const char *class);

/* Text as it may stand between tags or in an attribute. */
void svg_escape(FILE *file, const char *text, unsigned most);

#endif
