/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/view.h"

#include <base/parse.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line *
view_add(struct view *view, enum view_style style)
{
	static struct line nowhere;

	if (view->n == view->capacity) {
		unsigned capacity = view->capacity ? 2 * view->capacity : 64;
		struct view_line *more = reallocarray(view->lines, capacity, sizeof(*more));

		if (!more) {
			view->r = -ENOMEM;
			nowhere.length = nowhere.columns = 0;
			return &nowhere;
		}
		view->lines = more;
		view->capacity = capacity;
	}
	view->lines[view->n].style = style;
	view->lines[view->n].line.length = view->lines[view->n].line.columns = 0;
	view->lines[view->n].line.text[0] = 0;
	return &view->lines[view->n++].line;
}

void
view_free(struct view *view)
{
	free(view->lines);
	*view = (struct view){.n = 0};
}

/* ---- the upper lines ------------------------------------------------------------------------ */

static void
add_title(struct view *view, const struct sample *sample, const struct view_options *options)
{
	struct line *line = view_add(view, VIEW_TITLE);
	char right[64], date[CELL_MAX], text[320];
	unsigned width = options->width;

	cell_date(sample->date, sample->date, date);
	if (options->paused)
		snprintf(right, sizeof(right), "PAUSED at %s", date);
	else if (options->interval > 0)
		snprintf(right, sizeof(right), "%s, every %g s", date, options->interval);
	else
		snprintf(right, sizeof(right), "%s", date);
	snprintf(text, sizeof(text), "ivshmem top  %s", sample->target);
	if (width > strlen(right) + 1) {
		line_put(line, text, width - (unsigned)strlen(right) - 1);
		line_fill(line, line->columns + 1);
	}
	line_put_right(line, right, width > line->columns ? width - line->columns : 0);
	line_fill(line, width);
}

/* As whom we look. */
static void
describe_us(const struct sample *sample, char *text, size_t size)
{
	if (sample->has_id)
		snprintf(text, size, "as peer %u", sample->id);
	else
		snprintf(text, size, "%s",
			strcmp(sample->backend, "observe") == 0 ? "observing" : sample->backend);
}

static void
describe_areas(const struct sample *sample, char *text, size_t size)
{
	if (sample->areas > 0)
		snprintf(
			text, size, "%zu of %d areas taken", sample->n_participants, sample->areas);
	else
		snprintf(text, size, "no areas");
}

static void
add_summary(
	struct view *view, const struct sample *sample, const struct top_rows *rows, unsigned width)
{
	char us[32], areas[64], peers[32] = "", memory[SIZE_TEXT_MAX], published[64] = "";
	char bytes[CELL_MAX], records[CELL_MAX], unread[CELL_MAX], text[512];

	describe_us(sample, us, sizeof(us));
	describe_areas(sample, areas, sizeof(areas));
	if (sample->knows_peers)
		snprintf(peers, sizeof(peers), "%zu peer%s, ", sample->n_peers,
			sample->n_peers == 1 ? "" : "s");
	if (rows->records > 0)
		snprintf(published, sizeof(published), "%s records/s, ",
			cell_count(rows->records, records));
	snprintf(text, sizeof(text), "%s/s, %s%s unread; %s%s, %s, %s",
		cell_bytes(rows->bytes, bytes), published, cell_bytes((double)rows->unread, unread),
		peers, areas, format_size(sample->size, memory), us);
	line_put(view_add(view, VIEW_PLAIN), text, width);
}

static void
add_warnings(struct view *view, const struct sample *sample, unsigned width)
{
	char text[600];

	if (sample->problem[0])
		line_put(view_add(view, VIEW_WARNING), sample->problem, width);
	if (sample->lost[0]) {
		snprintf(text, sizeof(text),
			"! the server is lost: %s; who joins or leaves is not known until there is "
			"another one",
			sample->lost);
		line_put(view_add(view, VIEW_WARNING), text, width);
	}
	if (sample->n_left_out > 0) {
		snprintf(text, sizeof(text), "! %zu more channels are not looked at",
			sample->n_left_out);
		line_put(view_add(view, VIEW_WARNING), text, width);
	}
}

/* ---- all of it ------------------------------------------------------------------------------ */

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many lines the parts get: channels first, but half of them go to the others if these need it. */
static void
share(unsigned room, unsigned need_channels, unsigned *who, unsigned *channels, unsigned *events)
{
	unsigned need_who = *who, need_events = *events;
	unsigned third = room < 12 ? 0 : room / 3;

	*channels = least(need_channels, room);
	*who = least(need_who, third);
	*events = least(need_events, room < 12 ? 0 : least(room / 4, 9));
	*channels = least(*channels, room - *who - *events);
	/* What is left goes to those who want more of it. */
	room -= *who + *channels + *events;
	third = least(need_who - *who, room);
	*who += third;
	*events += least(need_events - *events, room - third);
	/* A heading says nothing if there is nothing below it but how many are not shown. */
	if (*who < need_who && *who < 3)
		*who = 0;
	if (*events < need_events && *events < 2)
		*events = 0;
}

static void
add_parts(struct view *view, const struct sample *sample, const struct top_rows *rows,
	const struct top_events *events, const struct view_options *options)
{
	unsigned who = view_who_lines(sample);
	unsigned channels = view_channels_lines(rows, options->all);
	unsigned happened = view_events_lines(events);
	unsigned wanted_channels = channels;

	if (options->height > 0)
		share(options->height > view->n + 1 ? options->height - view->n - 1 : 0,
			wanted_channels, &who, &channels, &happened);
	view_who(view, sample, options->width, who);
	view_channels(view, rows, options, channels);
	view_events(view, sample, events, options->width, happened);
}

static void
add_keys(struct view *view, const struct view_options *options)
{
	static const char *const keys[TOP_SORTS] = {
		[TOP_BY_RATE] = "rate",
		[TOP_BY_NAME] = "name",
		[TOP_BY_UNREAD] = "unread",
		[TOP_BY_WAITS] = "waits",
		[TOP_BY_AREA] = "area",
	};
	char text[256];
	struct line *line;

	while (view->n + 1 < options->height)
		view_add(view, VIEW_PLAIN);
	line = view_add(view, VIEW_TITLE);
	if (options->help)
		snprintf(text, sizeof(text), "any key: go back");
	else
		snprintf(text, sizeof(text),
			"q quit  h help  p %s  +/- interval  rnuwa sort (%s)  i %s idle  arrows",
			options->paused ? "go on" : "pause", keys[options->sort],
			options->all ? "hide" : "show");
	line_put(line, text, options->width);
	line_fill(line, options->width);
}

int
view_make(const struct sample *sample, struct top_rows *rows, const struct top_events *events,
	const struct view_options *options, struct view *ret_view)
{
	struct view view = {.n = 0};

	top_rows_sort(rows, options->sort);
	add_title(&view, sample, options);
	if (options->help) {
		view_help(&view, sample, options->width);
	} else {
		add_summary(&view, sample, rows, options->width);
		add_warnings(&view, sample, options->width);
		add_parts(&view, sample, rows, events, options);
	}
	if (options->height > 0) {
		if (view.n > options->height - 1)
			view.n = options->height - 1;
		add_keys(&view, options);
	}
	if (view.r < 0) {
		view_free(&view);
		return -ENOMEM;
	}
	*ret_view = view;
	return 0;
}
