/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot/chart.h"
#include "plot/svg.h"

#include <math.h>

#define HEIGHT     130.0
#define TIME_MARKS 9

/* A panel that is being drawn. */
struct panel {
	const struct chart *chart;
	enum chart_what what;
	double top, bottom;
	struct scale scale;
};

static double
x_of(const struct chart *chart, double time)
{
	return CHART_LEFT + time / chart->seconds * (CHART_RIGHT - CHART_LEFT);
}

static double
y_of(const struct panel *panel, double value)
{
	return panel->bottom - value / panel->scale.top * (panel->bottom - panel->top);
}

/* ---- axes ----------------------------------------------------------------------------------- */

static double
find_most(const struct chart *chart, enum chart_what what)
{
	double most = 0;

	for (unsigned i = 0; i < chart->n_shown; i++)
		for (unsigned bin = 0; bin < BINS; bin++)
			most = fmax(most, chart_top(&chart->shown[i]->bins[bin], what));
	return most;
}

static void
draw_scale(const struct panel *panel, const char *per)
{
	FILE *file = panel->chart->file;
	unsigned steps = (unsigned)lround(panel->scale.top / panel->scale.step);

	for (unsigned i = 0; i <= steps; i++) {
		double value = i * panel->scale.step;
		double y = y_of(panel, value);
		char label[SCALE_TEXT_MAX], text[SCALE_TEXT_MAX + 8];

		scale_label(&panel->scale, value, label);
		snprintf(text, sizeof(text), "%s%s", label, i > 0 ? per : "");
		svg_line(file, CHART_LEFT, y, CHART_RIGHT, y, i > 0 ? "grid" : "axis");
		svg_text(file, CHART_LEFT - 8, y + 4, "small num", "end", 0, text);
	}
}

static void
draw_time_grid(const struct panel *panel)
{
	const struct chart *chart = panel->chart;
	double step = scale_time_step(chart->seconds, TIME_MARKS);

	for (unsigned i = 1; i * step <= chart->seconds * 1.000001; i++)
		svg_line(chart->file, x_of(chart, i * step), panel->top, x_of(chart, i * step),
			panel->bottom, "grid");
}

double
panel_draw_times(const struct chart *chart, double y)
{
	double step = scale_time_step(chart->seconds, TIME_MARKS);
	char text[SCALE_TEXT_MAX];

	for (unsigned i = 0; i * step <= chart->seconds * 1.000001; i++)
		svg_text(chart->file, x_of(chart, i * step), y, "small num", "middle", 0,
			scale_time_label(i * step, step, chart->seconds, text));
	return y + 24;
}

/* ---- events --------------------------------------------------------------------------------- */

static void
draw_mark(const struct panel *panel, double x, bool death)
{
	FILE *file = panel->chart->file;

	if (death)
		svg_line(file, x, panel->top, x, panel->bottom, "death");
	if (panel->what == CHART_BYTES)
		fprintf(file, "<path d=\"M%.1f %.1fl-4 -7h8z\" class=\"%s\"/>\n", x, panel->top,
			death ? "deathtext" : "marktext");
}

/* Marks that would lie on each other are one. Those of deaths are lines through all panels. */
static void
draw_events(const struct panel *panel, bool deaths)
{
	const struct chart *chart = panel->chart;
	double last = -10;

	for (size_t i = 0; i < chart->data->n_events; i++) {
		double x = x_of(chart, chart->data->events[i].time);

		if (chart_is_bad(&chart->data->events[i]) != deaths || fabs(x - last) < 2)
			continue;
		last = x;
		draw_mark(panel, x, deaths);
	}
}

/* ---- lines ---------------------------------------------------------------------------------- */

struct point {
	double x, value, top;
};

static void
draw_band(const struct panel *panel, const struct point *points, unsigned n, const char *class)
{
	FILE *file = panel->chart->file;

	fprintf(file, "<polygon class=\"band %s\" points=\"", class);
	for (unsigned i = 0; i < n; i++)
		fprintf(file, "%.1f,%.1f ", points[i].x, y_of(panel, points[i].top));
	for (unsigned i = n; i > 0; i--)
		fprintf(file, "%.1f,%.1f ", points[i - 1].x, y_of(panel, points[i - 1].value));
	fputs("\"/>\n", file);
}

/* A line without a gap; one point is a dot. */
static void
draw_piece(const struct panel *panel, const struct point *points, unsigned n, const char *class)
{
	FILE *file = panel->chart->file;
	bool has_band = false;

	for (unsigned i = 0; i < n; i++)
		has_band = has_band || points[i].top > points[i].value * 1.02;
	if (n == 1) {
		fprintf(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2\" class=\"%s\"/>\n",
			points[0].x, y_of(panel, points[0].value), class);
		return;
	}
	if (n > 1 && has_band)
		draw_band(panel, points, n, class);
	if (n > 1) {
		fprintf(file, "<polyline class=\"line %s\" points=\"", class);
		for (unsigned i = 0; i < n; i++)
			fprintf(file, "%.1f,%.1f ", points[i].x, y_of(panel, points[i].value));
		fputs("\"/>\n", file);
	}
}

static void
draw_series(const struct panel *panel, const struct series *series, const char *class)
{
	struct point points[BINS];
	unsigned n = 0;

	/* Most channels have no records that somebody counts. */
	if (panel->what == CHART_RECORDS && series->all.top_records <= 0)
		return;
	for (unsigned i = 0; i < BINS; i++) {
		const struct bin *bin = &series->bins[i];
		double value = chart_value(bin, panel->what);

		if (value < 0) {
			/* The channel was not there, unless nobody looked. */
			if (panel->chart->data->samples[i] > 0) {
				draw_piece(panel, points, n, class);
				n = 0;
			}
			continue;
		}
		points[n++] = (struct point){
			x_of(panel->chart, bin->time / bin->n), value, chart_top(bin, panel->what)};
	}
	draw_piece(panel, points, n, class);
}

double
panel_draw(const struct chart *chart, double y, enum chart_what what, const char *name,
	enum scale_unit unit, const char *per)
{
	struct panel panel = {
		.chart = chart,
		.what = what,
		.top = y + 34,
		.bottom = y + 34 + HEIGHT,
		.scale = scale_make(unit, find_most(chart, what)),
	};

	svg_text(chart->file, 24, y + 18, "panel", "start", 0, name);
	draw_time_grid(&panel);
	draw_scale(&panel, per);
	draw_events(&panel, false);
	draw_events(&panel, true);
	/* Those that carry most are drawn last, on top. */
	for (unsigned i = chart->n_shown; i > 0; i--)
		draw_series(&panel, chart->shown[i - 1], chart_class(chart, i - 1));
	return panel.bottom + 18;
}
