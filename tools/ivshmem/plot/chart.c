/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot/chart.h"

#include "plot/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROW    18.0
#define EVENTS 12 /* that are told in words */

/* ---- what is shown -------------------------------------------------------------------------- */

static double
mean(double sum, double seconds)
{
	return seconds > 0 ? sum / seconds : -1;
}

double
chart_value(const struct bin *bin, enum chart_what what)
{
	if (bin->n == 0)
		return -1;
	switch (what) {
	case CHART_BYTES:
		return mean(bin->bytes, bin->seconds);
	case CHART_RECORDS:
		return mean(bin->records, bin->seconds);
	case CHART_FILL:
		return bin->fill;
	case CHART_WAITS:
		return bin->waits;
	}
	return -1;
}

double
chart_top(const struct bin *bin, enum chart_what what)
{
	if (bin->n == 0)
		return -1;
	if (what == CHART_BYTES)
		return bin->top_bytes;
	return what == CHART_RECORDS ? bin->top_records : chart_value(bin, what);
}

const char *
chart_class(const struct chart *chart, unsigned i)
{
	static const char *const classes[SVG_COLOURS] = {
		"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"};

	return chart->n_others > 0 && i + 1 == chart->n_shown ? "cx" : classes[i % SVG_COLOURS];
}

static int
compare_series(const void *left, const void *right)
{
	const struct series *const *a = left, *const *b = right;
	const struct bin *x = &(*a)->all, *y = &(*b)->all;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	if (x->records != y->records)
		return x->records > y->records ? -1 : 1;
	return strcmp((*a)->name, (*b)->name);
}

/* Rates of several series add up; what fills and waits most is shown. */
static void
add_rates(struct bin *to, const struct bin *bin)
{
	if (bin->n == 0)
		return;
	if (bin->seconds > 0) {
		to->bytes += bin->bytes / bin->seconds;
		to->records += bin->records / bin->seconds;
		to->seconds = 1;
	}
	to->top_bytes = to->bytes;
	to->top_records = to->records;
	to->fill = fmax(to->fill, bin->fill);
	to->waits = fmax(to->waits, bin->waits);
	to->time = bin->time;
	to->n = bin->n;
}

static void
add_to_others(struct chart *chart, const struct series *series)
{
	chart->n_others++;
	add_rates(&chart->others.all, &series->all);
	for (unsigned i = 0; i < BINS; i++)
		add_rates(&chart->other_bins[i], &series->bins[i]);
}

/* Of which something is known, or in which something waits. */
static bool
is_shown(const struct bin *all)
{
	return all->n > 0 && (all->seconds > 0 || all->fill > 0);
}

static void
choose_series(struct chart *chart)
{
	const struct series *sorted[SERIES_MAX + 1];
	const struct series *rest = &chart->data->series[SERIES_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < chart->data->n_series; i++)
		if (is_shown(&chart->data->series[i].all))
			sorted[n++] = &chart->data->series[i];
	qsort(sorted, n, sizeof(const struct series *), compare_series);
	for (unsigned i = 0; i < n; i++) {
		if (i < CHART_LINES)
			chart->shown[chart->n_shown++] = sorted[i];
		else
			add_to_others(chart, sorted[i]);
	}
	if (rest->bins)
		add_to_others(chart, rest);
	if (chart->n_others == 0)
		return;
	chart->others.bins = chart->other_bins;
	snprintf(chart->others.name, sizeof(chart->others.name), "%u%s others", chart->n_others,
		rest->bins ? " and more" : "");
	chart->shown[chart->n_shown++] = &chart->others;
}

/* ---- title and table ------------------------------------------------------------------------ */

static double
draw_title(const struct chart *chart, const char *title)
{
	const struct data *data = chart->data;
	char date[64] = "", length[SCALE_TEXT_MAX], text[320];
	time_t start = (time_t)data->date;
	struct tm local;

	if (localtime_r(&start, &local))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &local);
	snprintf(text, sizeof(text), "ivshmem, %s", data->target);
	svg_text(chart->file, 24, 34, "title", "start", 90, title ? title : text);
	snprintf(text, sizeof(text), "from %s, for %s, %llu samples", date,
		scale_time_label(data->end, 0, data->end, length),
		(unsigned long long)data->n_samples);
	svg_text(chart->file, 24, 54, "dim", "start", 0, text);
	return 72;
}

/* The columns of the table end here. */
static const double column_ends[] = {640, 730, 800, 880, 970};

static void
draw_cells(const struct chart *chart, double y, const char *class, const char *const *cells)
{
	for (unsigned i = 0; i < 5; i++)
		svg_text(chart->file, column_ends[i], y, class, "end", 0, cells[i]);
}

static void
name_series(const struct series *series, char *text, size_t size)
{
	if (!series->kind[0])
		snprintf(text, size, "%s", series->name);
	else if (series->to[0])
		snprintf(text, size, "%s (%s, %s \xe2\x86\x92 %s)", series->name, series->kind,
			series->from, series->to);
	else
		snprintf(text, size, "%s (%s, %s)", series->name, series->kind, series->from);
}

static void
draw_row(const struct chart *chart, double y, unsigned i)
{
	const struct series *series = chart->shown[i];
	const struct bin *all = &series->all;
	bool counted = all->top_records > 0;
	char name[256], cell[5][SCALE_TEXT_MAX + 2];
	const char *cells[5] = {cell[0], cell[1], cell[2], cell[3], cell[4]};
	char line[32];

	snprintf(line, sizeof(line), "line %s", chart_class(chart, i));
	svg_line(chart->file, 24, y - 4, 48, y - 4, line);
	name_series(series, name, sizeof(name));
	svg_text(chart->file, 56, y, "", "start", 74, name);
	scale_value(SCALE_BYTES, chart_value(all, CHART_BYTES), cell[0]);
	scale_value(SCALE_BYTES, chart_top(all, CHART_BYTES), cell[1]);
	scale_value(SCALE_COUNT, counted ? chart_value(all, CHART_RECORDS) : -1, cell[2]);
	scale_value(SCALE_PERCENT, all->fill, cell[3]);
	scale_value(SCALE_SECONDS, all->waits, cell[4]);
	draw_cells(chart, y, "num", cells);
}

static double
draw_table(const struct chart *chart, double y)
{
	static const char *const titles[] = {
		"bytes/s, mean", "highest", "records/s", "fullest", "waited"};

	if (chart->n_shown == 0)
		return y;
	svg_text(chart->file, 56, y + ROW, "small dim", "start", 0, "channel");
	draw_cells(chart, y + ROW, "small dim", titles);
	y += ROW;
	for (unsigned i = 0; i < chart->n_shown; i++) {
		y += ROW;
		draw_row(chart, y, i);
	}
	return y + 14;
}

/* ---- events in words ------------------------------------------------------------------------ */

bool
chart_is_bad(const struct event *event)
{
	return strcmp(event->word, "died") == 0 || strcmp(event->word, "lost") == 0;
}

/* Those that are bad come before all others. */
static void
choose_events(const struct data *data, bool chosen[EVENTS_MAX])
{
	unsigned n = 0;

	for (unsigned pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < data->n_events && n < EVENTS; i++)
			if (!chosen[i] && chart_is_bad(&data->events[i]) == (pass == 0)) {
				chosen[i] = true;
				n++;
			}
}

static double
draw_events(const struct chart *chart, double y)
{
	const struct data *data = chart->data;
	bool chosen[EVENTS_MAX] = {false};
	uint64_t more = data->n_events + data->n_more_events;
	char text[64];

	if (data->n_events == 0)
		return y;
	svg_text(chart->file, 24, y + ROW, "panel", "start", 0, "events");
	y += ROW;
	choose_events(data, chosen);
	for (size_t i = 0; i < data->n_events; i++) {
		const struct event *event = &data->events[i];
		const char *class = chart_is_bad(event) ? "deathtext" : "";

		if (!chosen[i])
			continue;
		y += ROW;
		more--;
		scale_time_label(event->time, 0.1, chart->seconds, text);
		svg_text(chart->file, CHART_LEFT, y, "num dim", "end", 0, text);
		svg_text(chart->file, CHART_LEFT + 14, y, class, "start", 110, event->text);
	}
	if (more > 0) {
		y += ROW;
		snprintf(text, sizeof(text), "and %llu more", (unsigned long long)more);
		svg_text(chart->file, CHART_LEFT + 14, y, "dim", "start", 0, text);
	}
	return y + 20;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static bool
has_any(const struct chart *chart, enum chart_what what, double more_than)
{
	for (unsigned i = 0; i < chart->n_shown; i++)
		if (chart_top(&chart->shown[i]->all, what) > more_than)
			return true;
	return false;
}

static double
draw_panels(const struct chart *chart, double y)
{
	if (chart->n_shown == 0) {
		svg_text(chart->file, CHART_WIDTH / 2, y + 60, "dim", "middle", 0,
			"nothing went through channels");
		return y + 100;
	}
	y = panel_draw(chart, y, CHART_BYTES, "bytes received", SCALE_BYTES, "/s");
	if (has_any(chart, CHART_RECORDS, 0))
		y = panel_draw(
			chart, y, CHART_RECORDS, "records and values published", SCALE_COUNT, "/s");
	y = panel_draw(chart, y, CHART_FILL, "fill of the rings", SCALE_PERCENT, "");
	/* What waits for less than that is seen by chance. */
	if (has_any(chart, CHART_WAITS, 0.05))
		y = panel_draw(chart, y, CHART_WAITS, "waiting time of the oldest unread byte",
			SCALE_SECONDS, "");
	return panel_draw_times(chart, y);
}

static double
draw(const struct chart *chart, const char *title)
{
	double y = draw_title(chart, title);

	y = draw_table(chart, y);
	y = draw_panels(chart, y);
	y = draw_events(chart, y);
	return histogram_draw(chart, y) + 10;
}

void
chart_draw(FILE *file, const struct data *data, const char *title)
{
	struct chart *chart = calloc(1, sizeof(*chart));
	FILE *nowhere;
	double height = 0;

	if (!chart)
		return;
	chart->data = data;
	chart->seconds = data->end > 0 ? data->end : 1;
	choose_series(chart);
	/* The height is known when all is drawn. */
	nowhere = fopen("/dev/null", "we");
	if (nowhere) {
		chart->file = nowhere;
		height = draw(chart, title);
		fclose(nowhere);
	}
	chart->file = file;
	svg_begin(file, CHART_WIDTH, height, title ? title : "ivshmem");
	draw(chart, title);
	svg_end(file);
	free(chart);
}
