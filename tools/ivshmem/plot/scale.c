/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot/scale.h"

#include <math.h>
#include <stdio.h>

struct base {
	double size;
	const char *name;
};

static const struct base bytes[] = {
	{1, ""},
	{1024, " KiB"},
	{1048576, " MiB"},
	{1073741824, " GiB"},
	{1099511627776, " TiB"},
	{1125899906842624, " PiB"},
	{0},
};
static const struct base counts[] = {
	{1, ""}, {1e3, " k"}, {1e6, " M"}, {1e9, " G"}, {1e12, " T"}, {1e15, " P"}, {0}};
static const struct base seconds[] = {{1e-9, " ns"}, {1e-6, " us"}, {1e-3, " ms"}, {1, " s"},
	{60, " min"}, {3600, " h"}, {86400, " d"}, {0}};
static const struct base percents[] = {{0.01, "%"}, {0}};

static const struct base *
bases_of(enum scale_unit unit)
{
	switch (unit) {
	case SCALE_BYTES:
		return bytes;
	case SCALE_SECONDS:
		return seconds;
	case SCALE_PERCENT:
		return percents;
	case SCALE_COUNT:
		break;
	}
	return counts;
}

/* The largest one that the value has at least one of. */
static const struct base *
find_base(enum scale_unit unit, double value)
{
	const struct base *base = bases_of(unit);

	while (base[1].size > 0 && value >= base[1].size)
		base++;
	return base;
}

/* The least of 1, 2, 5, 10, 20, ... and their tenths and so on that is not less. */
static double
round_up(double value, int *ret_digits)
{
	double power = floor(log10(value));
	double size = pow(10, power);
	double factor = value / size;

	/* A little more than a round number is one: calculating is not exact. */
	factor = factor <= 1.000001 ? 1 : factor <= 2.000001 ? 2 : factor <= 5.000001 ? 5 : 10;
	if (factor == 10) {
		factor = 1;
		power++;
	}
	*ret_digits = power < 0 ? (int)-power : 0;
	return factor * pow(10, power);
}

struct scale
scale_make(enum scale_unit unit, double most)
{
	struct scale scale = {.unit = unit, .top = 1};
	const struct base *base;
	double step;

	if (unit == SCALE_PERCENT) {
		scale.base = 0.01;
		scale.name = "%";
		scale.step = 0.25;
		return scale;
	}
	if (!(most > 0) || most > 1e18)
		most = most > 0 ? 1e18 : 1;
	/* There is nothing between one byte and the next one. */
	if (unit != SCALE_SECONDS && most < 4)
		most = 4;
	base = find_base(unit, most);
	step = round_up(most / base->size / 4, &scale.digits);
	scale.base = base->size;
	scale.name = base->name;
	scale.step = step * base->size;
	scale.top = ceil(most / scale.step - 0.000001) * scale.step;
	return scale;
}

const char *
scale_label(const struct scale *scale, double value, char text[SCALE_TEXT_MAX])
{
	if (value == 0)
		snprintf(text, SCALE_TEXT_MAX, "0");
	else
		snprintf(text, SCALE_TEXT_MAX, "%.*f%s", scale->digits, value / scale->base,
			scale->name);
	return text;
}

const char *
scale_value(enum scale_unit unit, double value, char text[SCALE_TEXT_MAX])
{
	const struct base *base;
	double number;

	if (value < 0) {
		snprintf(text, SCALE_TEXT_MAX, "-");
		return text;
	}
	/* What would be written as 1000 ms is a second. */
	base = find_base(unit, value * 1.0005);
	number = value / base->size;
	if (value == 0)
		snprintf(text, SCALE_TEXT_MAX, unit == SCALE_PERCENT ? "0%%" : "0");
	else if (unit == SCALE_PERCENT || base->size == 1)
		snprintf(text, SCALE_TEXT_MAX,
			number < 10 && unit == SCALE_SECONDS ? "%.2f%s" : "%.0f%s", number,
			base->name);
	else
		snprintf(text, SCALE_TEXT_MAX, "%.*f%s",
			number < 9.995   ? 2
			: number < 99.95 ? 1
					 : 0,
			number, base->name);
	return text;
}

const char *
scale_round(enum scale_unit unit, double value, char text[SCALE_TEXT_MAX])
{
	/* A millisecond that is a little less is no 1000 us. */
	const struct base *base = find_base(unit, value * 1.000001);

	snprintf(text, SCALE_TEXT_MAX, "%g%s", value / base->size, base->name);
	return text;
}

/* ---- time ----------------------------------------------------------------------------------- */

double
scale_time_step(double total, unsigned most)
{
	static const double steps[] = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2,
		5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200};
	double day = 86400;

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (total / steps[i] <= most)
			return steps[i];
	while (total / day > most && day < 1e15)
		day *= 2;
	return day;
}

const char *
scale_time_label(double at, double step, double total, char text[SCALE_TEXT_MAX])
{
	long whole = lround(at);

	if (step > 0 && step < 1)
		snprintf(text, SCALE_TEXT_MAX, "%.*f s",
			step < 0.0095  ? 3
			: step < 0.095 ? 2
				       : 1,
			at);
	else if (total < 120)
		snprintf(text, SCALE_TEXT_MAX, "%ld s", whole);
	else if (total < 7200)
		snprintf(text, SCALE_TEXT_MAX, "%ld:%02ld", whole / 60, whole % 60);
	else if (step < 86400 && total < 30 * 86400.0)
		snprintf(text, SCALE_TEXT_MAX, "%ld:%02ld h", whole / 3600, whole / 60 % 60);
	else
		snprintf(text, SCALE_TEXT_MAX, "%ld d", whole / 86400);
	return text;
}
