/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot/chart.h"
#include "plot/svg.h"

#include <math.h>

#define HEIGHT 130.0
#define BARS   80

/* The axis of times, whose steps are factors. */
struct times {
	double left, right; /* logarithms of microseconds */
};

static double
x_of(const struct times *times, double us)
{
	double part = (log10(us) - times->left) / (times->right - times->left);

	return CHART_LEFT + part * (CHART_RIGHT - CHART_LEFT);
}

static struct times
choose_times(const struct histogram *histogram)
{
	double least = fmax(histogram->least, 0.001), most = fmax(histogram->most, 0.001);
	struct times times = {log10(least), log10(most)};
	double room = fmax((times.right - times.left) * 0.03, 0.02);

	/* A little room at both sides, and half a decade at least. */
	times.left -= room;
	times.right += room;
	if (times.right - times.left < 0.5) {
		double middle = (times.left + times.right) / 2;

		times.left = middle - 0.25;
		times.right = middle + 0.25;
	}
	return times;
}

/* ---- bars ----------------------------------------------------------------------------------- */

static double
count_bars(const struct histogram *histogram, const struct times *times, double bars[BARS])
{
	double width = (CHART_RIGHT - CHART_LEFT) / BARS;
	double most = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		double us = sqrt(histogram_bucket_start(i) * histogram_bucket_start(i + 1));
		double bar = (x_of(times, us) - CHART_LEFT) / width;

		if (histogram->counts[i] == 0)
			continue;
		bar = bar < 0 ? 0 : bar > BARS - 1 ? BARS - 1 : bar;
		bars[(unsigned)bar] += (double)histogram->counts[i];
	}
	for (unsigned i = 0; i < BARS; i++)
		most = fmax(most, bars[i]);
	return most;
}

static void
draw_bars(const struct chart *chart, const double bars[BARS], const struct scale *scale,
	double bottom)
{
	double width = (CHART_RIGHT - CHART_LEFT) / BARS;

	for (unsigned i = 0; i < BARS; i++) {
		double height = bars[i] / scale->top * HEIGHT;

		/* One among a million is still seen. */
		if (bars[i] > 0)
			svg_rect(chart->file, CHART_LEFT + i * width + 0.5,
				bottom - fmax(height, 1.5), width - 1, fmax(height, 1.5), "bar");
	}
}

/* ---- axes ----------------------------------------------------------------------------------- */

static void
draw_scale(const struct chart *chart, const struct scale *scale, double bottom)
{
	unsigned steps = (unsigned)lround(scale->top / scale->step);
	char text[SCALE_TEXT_MAX];

	for (unsigned i = 0; i <= steps; i++) {
		double y = bottom - i * scale->step / scale->top * HEIGHT;

		svg_line(chart->file, CHART_LEFT, y, CHART_RIGHT, y, i > 0 ? "grid" : "axis");
		svg_text(chart->file, CHART_LEFT - 8, y + 4, "small num", "end", 0,
			scale_label(scale, i * scale->step, text));
	}
}

static void
draw_times(const struct chart *chart, const struct times *times, double bottom)
{
	static const double factors[] = {1, 2, 5};
	double decades = times->right - times->left;
	char text[SCALE_TEXT_MAX];

	for (int decade = (int)floor(times->left); decade <= (int)ceil(times->right); decade++) {
		for (unsigned i = 0; i < (decades < 4 ? 3 : 1); i++) {
			double us = factors[i] * pow(10, decade);
			double x = x_of(times, us);

			if (x < CHART_LEFT || x > CHART_RIGHT)
				continue;
			svg_line(chart->file, x, bottom - HEIGHT, x, bottom + 4, "grid");
			svg_text(chart->file, x, bottom + 18, "small num", "middle", 0,
				scale_value(SCALE_SECONDS, us / 1e6, text));
		}
	}
}

/* p50, p99 and the longest, each in a row of its own, so that none lies on another one. */
static void
draw_quantile(const struct chart *chart, const struct times *times, double bottom, unsigned row,
	const char *name, double us)
{
	double x = x_of(times, us);
	bool left = x > CHART_RIGHT - 120;
	char value[SCALE_TEXT_MAX], text[SCALE_TEXT_MAX + 16];

	snprintf(text, sizeof(text), "%s %s", name, scale_value(SCALE_SECONDS, us / 1e6, value));
	svg_line(chart->file, x, bottom - HEIGHT - 4, x, bottom, "death");
	svg_text(chart->file, x + (left ? -6 : 6), bottom - HEIGHT + 10 + 15 * row,
		"bold deathtext", left ? "end" : "start", 0, text);
}

double
histogram_draw(const struct chart *chart, double y)
{
	const struct histogram *histogram = &chart->data->histogram;
	struct times times = choose_times(histogram);
	double bars[BARS] = {0}, bottom = y + 34 + HEIGHT;
	struct scale scale;
	char text[160];

	if (histogram->n == 0)
		return y;
	scale = scale_make(SCALE_COUNT, count_bars(histogram, &times, bars));
	snprintf(text, sizeof(text), "%llu round trips to %s", (unsigned long long)histogram->n,
		chart->data->ping);
	svg_text(chart->file, 24, y + 18, "panel", "start", 100, text);
	draw_times(chart, &times, bottom);
	draw_scale(chart, &scale, bottom);
	draw_bars(chart, bars, &scale, bottom);
	draw_quantile(chart, &times, bottom, 0, "p50", histogram_quantile(histogram, 0.5));
	draw_quantile(chart, &times, bottom, 1, "p99", histogram_quantile(histogram, 0.99));
	draw_quantile(chart, &times, bottom, 2, "max", histogram->most);
	return bottom + 34;
}
