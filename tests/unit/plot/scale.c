/* SPDX-License-Identifier: BSD-2-Clause */

/* Axes of pictures. */

#include <plot/scale.h>

#include <test.h>

#include <math.h>
#include <string.h>

static const char *
label(const struct scale *scale, unsigned i)
{
	static char text[SCALE_TEXT_MAX];

	return scale_label(scale, i * scale->step, text);
}

TEST(steps_are_round)
{
	struct scale scale = scale_make(SCALE_BYTES, 1.9 * (1 << 30));

	CHECK_STR(label(&scale, 0), "0");
	CHECK_STR(label(&scale, 1), "0.5 GiB");
	CHECK_STR(label(&scale, 4), "2.0 GiB");
	CHECK(scale.top == 2.0 * (1 << 30));
	scale = scale_make(SCALE_COUNT, 40);
	CHECK_STR(label(&scale, 1), "10");
	CHECK(scale.top == 40);
	scale = scale_make(SCALE_SECONDS, 0.0035);
	CHECK_STR(label(&scale, 1), "1 ms");
	CHECK_STR(label(&scale, 4), "4 ms");
	scale = scale_make(SCALE_PERCENT, 0.1);
	CHECK_STR(label(&scale, 2), "50%");
	CHECK(scale.top == 1);
}

TEST(there_are_a_few_steps_whatever_the_values)
{
	static const enum scale_unit units[] = {SCALE_BYTES, SCALE_COUNT, SCALE_SECONDS};

	for (unsigned unit = 0; unit < 3; unit++) {
		for (double most = 1e-9; most < 1e19; most *= 1.073) {
			struct scale scale = scale_make(units[unit], most);
			double steps = scale.top / scale.step;

			CHECK(scale.step > 0);
			CHECK(scale.top >= most * 0.999 || most > 1e18);
			CHECK(fabs(steps - (double)lround(steps)) < 1e-6);
			CHECK(lround(steps) >= 1 && lround(steps) <= 6);
			CHECK(strlen(label(&scale, 1)) < 12 || most > 1e12);
		}
	}
}

TEST(values_that_make_no_sense_have_an_axis_too)
{
	static const double values[] = {0, -1, (double)INFINITY, (double)NAN, 1e300};

	for (unsigned i = 0; i < 5; i++) {
		struct scale scale = scale_make(SCALE_BYTES, values[i]);

		CHECK(scale.step > 0 && scale.top >= scale.step && scale.top < 2e18);
	}
}

TEST(values_by_themselves)
{
	char text[SCALE_TEXT_MAX];

	CHECK_STR(scale_value(SCALE_BYTES, -1, text), "-");
	CHECK_STR(scale_value(SCALE_BYTES, 0, text), "0");
	CHECK_STR(scale_value(SCALE_BYTES, 100, text), "100");
	CHECK_STR(scale_value(SCALE_BYTES, 1536, text), "1.50 KiB");
	CHECK_STR(scale_value(SCALE_SECONDS, 15.9e-6, text), "15.9 us");
	CHECK_STR(scale_value(SCALE_SECONDS, 0.99996, text), "1.00 s");
	CHECK_STR(scale_value(SCALE_PERCENT, 0, text), "0%");
	CHECK_STR(scale_value(SCALE_PERCENT, 0.88, text), "88%");
	CHECK_STR(scale_round(SCALE_SECONDS, 20e-6, text), "20 us");
	CHECK_STR(scale_round(SCALE_SECONDS, 0.000999999999, text), "1 ms");
}

TEST(the_axis_of_time)
{
	char text[SCALE_TEXT_MAX];

	CHECK(scale_time_step(30, 9) == 5);
	CHECK(scale_time_step(3600, 9) == 600);
	CHECK(scale_time_step(0.05, 9) == 0.01);
	CHECK(scale_time_step(86400 * 100.0, 9) == 86400 * 16);
	CHECK_STR(scale_time_label(15, 5, 30, text), "15 s");
	CHECK_STR(scale_time_label(150, 30, 300, text), "2:30");
	CHECK_STR(scale_time_label(5400, 1800, 10000, text), "1:30 h");
	CHECK_STR(scale_time_label(172800, 86400, 864000, text), "2 d");
	CHECK_STR(scale_time_label(0.25, 0.05, 0.4, text), "0.25 s");
	CHECK_STR(scale_time_label(3600, 0, 3600, text), "60:00");
	for (double total = 0.001; total < 1e9; total *= 1.3)
		CHECK(total / scale_time_step(total, 9) <= 9);
}
