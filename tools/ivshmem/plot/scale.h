/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PLOT_SCALE_H
#define PLOT_SCALE_H

/* Axes: round numbers at even distances, and how they are written. */

#include <stddef.h>

enum scale_unit {
	SCALE_BYTES,   /* KiB, MiB, ... */
	SCALE_COUNT,   /* k, M, ... */
	SCALE_SECONDS, /* us, ms, s, min, ... */
	SCALE_PERCENT, /* of 1 */
};

struct scale {
	enum scale_unit unit;
	double step;
	double top;       /* of the axis: a multiple of the step */
	double base;      /* what the numbers are multiples of: 1024, 60, ... */
	const char *name; /* of the base */
	int digits;       /* behind the point */
};

/* For values from 0 to `most`, with 2 to 6 steps. */
struct scale scale_make(enum scale_unit unit, double most);

/* "1.5 MiB"; the number alone is 0. Returns `text`. */
#define SCALE_TEXT_MAX 32
const char *scale_label(const struct scale *scale, double value, char text[SCALE_TEXT_MAX]);

/* A value by itself, with three digits or so: "1.23 MiB". Below 0 it is "-". Returns `text`. */
const char *scale_value(enum scale_unit unit, double value, char text[SCALE_TEXT_MAX]);

/* A round value, with no more digits than it needs: "20 us". Returns `text`. */
const char *scale_round(enum scale_unit unit, double value, char text[SCALE_TEXT_MAX]);

/* The axis of time: seconds between marks, so that there are `most` of them at most. */
double scale_time_step(double seconds, unsigned most);
/* "30 s", "2:30", "1:05:00": all marks of an axis look alike. For a time by itself, `step` is 0.
 * Returns `text`. */
const char *scale_time_label(double seconds, double step, double total, char text[SCALE_TEXT_MAX]);

#endif
