/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PLOT_CHART_H
#define PLOT_CHART_H

/*
 * The picture: a title; a table of the series, which is the legend as well; a panel for each of rates, records,
 * fill and waiting times, over the same time; the events; the round trips as a histogram. What there is
 * nothing of is left out.
 */

#include "plot/data.h"
#include "plot/scale.h"

#include <stdio.h>

/* `title` may be NULL. */
void chart_draw(FILE *file, const struct data *data, const char *title);

/* ---- for its parts -------------------------------------------------------------------------- */

#define CHART_WIDTH 1000.0
#define CHART_LEFT  90.0
#define CHART_RIGHT 970.0
/* This many series have a line of their own. */
#define CHART_LINES 8

struct chart {
	FILE *file;
	const struct data *data;
	const struct series *shown[CHART_LINES + 1]; /* those that carry most first */
	unsigned n_shown;
	unsigned n_others;    /* the last one that is shown is all of these, if there are any */
	struct series others; /* with its bins below */
	struct bin other_bins[BINS];
	double seconds; /* of the axis of time */
};

enum chart_what { CHART_BYTES, CHART_RECORDS, CHART_FILL, CHART_WAITS };

/* What is shown of a bin, and its greatest value; -1: nothing. */
double chart_value(const struct bin *bin, enum chart_what what);
double chart_top(const struct bin *bin, enum chart_what what);

/* Who died, and what was lost. */
bool chart_is_bad(const struct event *event);

/* The class of the line of a series that is shown. */
const char *chart_class(const struct chart *chart, unsigned i);

/* Each draws from `y` downwards, and returns where it ends. */
double panel_draw(const struct chart *chart, double y, enum chart_what what, const char *name,
	enum scale_unit unit, const char *per);
double panel_draw_times(const struct chart *chart, double y);
double histogram_draw(const struct chart *chart, double y);

#endif
