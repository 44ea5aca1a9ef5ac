/* SPDX-License-Identifier: BSD-2-Clause */
#include "times.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int
times_new(struct times *times, size_t most)
{
	uint64_t *ns = calloc(most, sizeof(*ns));

	if (!ns)
		return -ENOMEM;
	*times = (struct times){.ns = ns};
	return 0;
}

void
times_free(struct times *times)
{
	free(times->ns);
	*times = (struct times){.n = 0};
}

static int
compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

void
times_sort(struct times *times)
{
	if (times->n > 0)
		qsort(times->ns, times->n, sizeof(*times->ns), compare);
}

/* The smallest time that at least `percent` % of them do not exceed, in microseconds. */
static double
percentile(const struct times *times, unsigned percent)
{
	size_t rank = (times->n * percent + 99) / 100;

	return (double)times->ns[rank > 0 ? rank - 1 : 0] / 1000;
}

char *
times_text(const struct times *times, int digits, char buffer[TIMES_TEXT_MAX])
{
	snprintf(buffer, TIMES_TEXT_MAX,
		"%zu round trips, min %.*f us, median %.*f us, p99 %.*f us, max %.*f us", times->n,
		digits, percentile(times, 0), digits, percentile(times, 50), digits,
		percentile(times, 99), digits, percentile(times, 100));
	return buffer;
}

void
times_json(const struct times *times, struct json *json)
{
	static const struct {
		const char *key;
		unsigned percent;
	} numbers[] = {{"min_us", 0}, {"median_us", 50}, {"p99_us", 99}, {"max_us", 100}};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (times->n > 0)
			json_decimal(
				json, numbers[i].key, percentile(times, numbers[i].percent), 3);
		else
			json_null(json, numbers[i].key);
	}
}
