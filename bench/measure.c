/* SPDX-License-Identifier: BSD-2-Clause */
#include "measure.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

void
die(const char *what)
{
	perror(what);
	exit(1);
}

uint64_t
clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void
cpu_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

static int
number_compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t
median(uint64_t *numbers, size_t n)
{
	qsort(numbers, n, sizeof(*numbers), number_compare);
	return numbers[n / 2];
}
