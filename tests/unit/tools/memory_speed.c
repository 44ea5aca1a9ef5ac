/* SPDX-License-Identifier: BSD-2-Clause */

/* How quickly memory is read: the judgement. tests/vm/test_doctor.py has memory that is slow. */

#include <memory_speed.h>

#include <test.h>

#include <errno.h>
#include <stdlib.h>

TEST(judgement)
{
	static const struct {
		double shared, own;
		bool slow;
	} rows[] = {
		{10e9, 10e9, false},
		{20e9, 10e9, false},
		{3e9, 10e9, false}, /* noise */
		{2e9, 10e9, true},  /* write-combining, at best */
		{80e6, 10e9, true}, /* uncached */
		{5e6, 8e9, true},
		{1, 1, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memory_speed speed = {.shared = rows[i].shared, .own = rows[i].own};

		CHECK_EQ(memory_speed_is_slow(&speed), rows[i].slow);
	}
}

TEST(memory_like_ours_is_as_quick)
{
	const size_t size = (size_t)1 << 20;
	struct memory_speed speed = {.own = 0};
	void *memory = calloc(1, size);

	CHECK(memory);
	CHECK_EQ(memory_speed_measure(&speed, memory, size), 0);
	CHECK(speed.shared > 0 && speed.own > 0);
	free(memory);
}

TEST(small_memory_is_not_measured)
{
	struct memory_speed speed = {.own = 5};
	static char memory[4096];

	CHECK_EQ(memory_speed_measure(&speed, memory, 4095), -ENODATA);
	CHECK(speed.own > 4 && speed.own < 6);
	CHECK_EQ(memory_speed_measure(&speed, memory, 4096), 0);
}
