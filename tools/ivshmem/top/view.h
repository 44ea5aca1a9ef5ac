/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_VIEW_H
#define TOP_VIEW_H

/*
 * What `ivshmem top` shows, as lines of text. It knows no terminal: screen.h draws it, and --once prints it.
 * Styles only stress what the text says.
 */

#include "top/cells.h"
#include "top/events.h"
#include "top/rows.h"

enum view_style { VIEW_PLAIN, VIEW_TITLE, VIEW_HEADING, VIEW_WARNING, VIEW_DIM, VIEW_STYLES };

struct view_line {
	struct line line;
	enum view_style style;
};

struct view {
	struct view_line *lines;
	unsigned n, capacity;
	unsigned first; /* the first channel that is shown */
	int r;          /* -ENOMEM: lines are missing */
};

struct view_options {
	unsigned width;  /* columns, at most LINE_COLUMNS_MAX */
	unsigned height; /* lines; 0: as many as it takes, and no line of keys */
	enum top_sort sort;
	double interval; /* seconds; 0: this is the only sample */
	bool paused;
	bool all; /* also those rows that are idle */
	bool help;
	unsigned
		first; /* the first channel to be shown, if there are more than there is room for */
};

/* Sorts the rows. 0, or -ENOMEM. */
int view_make(const struct sample *sample, struct top_rows *rows, const struct top_events *events,
	const struct view_options *options, struct view *ret_view);
void view_free(struct view *view);

/* For the parts of a view: a new line, which is plain and empty. Never NULL. */
struct line *view_add(struct view *view, enum view_style style);

/* The parts, each in at most so many lines with its heading. */
void view_who(struct view *view, const struct sample *sample, unsigned width, unsigned lines);
void view_channels(struct view *view, const struct top_rows *rows,
	const struct view_options *options, unsigned lines);
void view_events(struct view *view, const struct sample *sample, const struct top_events *events,
	unsigned width, unsigned lines);
void view_help(struct view *view, const struct sample *sample, unsigned width);

/* How many lines they would take. */
unsigned view_who_lines(const struct sample *sample);
unsigned view_channels_lines(const struct top_rows *rows, bool all);
unsigned view_events_lines(const struct top_events *events);

#endif
