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
				scale_round(SCALE_SECONDS, us / 1e6, text));
		}
	}
}

static void
draw_quantile(const struct chart *chart, const struct times *times, double bottom, const char *name,
	const char *anchor, double us)
{
	double x = x_of(times, us);

	svg_line(chart->file, x, bottom - HEIGHT - 4, x, bottom, "death");
	svg_text(chart->file, x, bottom - HEIGHT - 8, "small bold deathtext", anchor, 0, name);
}

double
histogram_draw(const struct chart *chart, double y)
{
	const struct histogram *histogram = &chart->data->histogram;
	struct times times = choose_times(histogram);
	double bars[BARS] = {0}, bottom = y + 46 + HEIGHT;
	struct scale scale;
	double p50 = histogram_quantile(histogram, 0.5), p99 = histogram_quantile(histogram, 0.99);
	char median[SCALE_TEXT_MAX], high[SCALE_TEXT_MAX], most[SCALE_TEXT_MAX], text[256];

	if (histogram->n == 0)
		return y;
	scale = scale_make(SCALE_COUNT, count_bars(histogram, &times, bars));
	snprintf(text, sizeof(text), "%llu round trips to %s: p50 %s, p99 %s, max %s",
		(unsigned long long)histogram->n, chart->data->ping,
		scale_value(SCALE_SECONDS, p50 / 1e6, median),
		scale_value(SCALE_SECONDS, p99 / 1e6, high),
		scale_value(SCALE_SECONDS, histogram->most / 1e6, most));
	svg_text(chart->file, 24, y + 18, "panel", "start", 130, text);
	draw_times(chart, &times, bottom);
	draw_scale(chart, &scale, bottom);
	draw_bars(chart, bars, &scale, bottom);
	/* They may be close to each other. */
	draw_quantile(chart, &times, bottom, "p50", "end", p50);
	draw_quantile(chart, &times, bottom, "p99", "middle", p99);
	draw_quantile(chart, &times, bottom, "max", "start", histogram->most);
	return bottom + 34;
}
