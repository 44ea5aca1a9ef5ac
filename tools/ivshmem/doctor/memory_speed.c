/* SPDX-License-Identifier: BSD-2-Clause */
#include "memory_speed.h"

#include <base/clock.h>
#include <base/words.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE ((size_t)64 << 10)
#define LEAST  ((size_t)4 << 10)

/* The best of some: who was interrupted meanwhile was slow for another reason. */
#define ROUNDS 5

/* Cached memory is as quick as ours, whatever the machine; a factor of 4 is no noise. */
#define SLOW_FACTOR 4.0

static double
measure(void *to, const volatile void *from, size_t length)
{
	uint64_t best = UINT64_MAX;

	/* The first time, pages and caches are filled. */
	for (unsigned i = 0; i <= ROUNDS; i++) {
		uint64_t began = clock_now(), took;

		words_load(to, from, length);
		took = clock_now() - began;
		if (i > 0 && took < best)
			best = took;
	}
	return (double)length * 1e9 / (double)(best ? best : 1);
}

int
memory_speed_measure(struct memory_speed *ret_speed, const volatile void *memory, uint64_t size)
{
	size_t length = size < SAMPLE ? (size_t)size : SAMPLE;
	void *own, *to;

	if (length < LEAST)
		return -ENODATA;
	own = malloc(length);
	to = malloc(length);
	if (!own || !to) {
		free(own);
		free(to);
		return -ENOMEM;
	}
	memset(own, 1, length);
	ret_speed->shared = measure(to, memory, length);
	ret_speed->own = measure(to, own, length);
	free(own);
	free(to);
	return 0;
}

bool
memory_speed_is_slow(const struct memory_speed *speed)
{
	return speed->shared * SLOW_FACTOR < speed->own;
}
