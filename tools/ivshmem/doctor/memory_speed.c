/* SPDX-License-Identifier: BSD-2-Clause */
#include "memory_speed.h"

#include <base/clock.h>
#include <base/words.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE ((size_t)64 << 10)
#define LEAST  ((size_t)4 << 10)

/* The best of some: who was interrupted meanwhile was slow for another reason. The two take turns, so that
 * both have the same chance of a quiet moment. */
#define ROUNDS 32

/* Who waits so long for all of them has slow memory: each access may be a message to a process. */
#define ROUNDS_NS (100 * NSEC_PER_MSEC)

/* A machine that is busy can still be slow with one of them only; not so often. */
#define TRIES 3

/* Cached memory is as quick as ours, whatever the machine; a factor of 4 is no noise. */
#define SLOW_FACTOR 4.0

static void
time_once(uint64_t *best, void *to, const volatile void *from, size_t length)
{
	uint64_t began = clock_now(), took;

	words_load(to, from, length);
	took = clock_now() - began;
	if (took < *best)
		*best = took > 0 ? took : 1;
}

static void
measure(struct memory_speed *ret_speed, void *to, const volatile void *shared, const void *own,
	size_t length)
{
	uint64_t shared_best = UINT64_MAX, own_best = UINT64_MAX;
	uint64_t began = clock_now();

	for (unsigned i = 0; i < ROUNDS && (i == 0 || clock_now() - began < ROUNDS_NS); i++) {
		time_once(&shared_best, to, shared, length);
		time_once(&own_best, to, own, length);
	}
	ret_speed->shared = (double)length * 1e9 / (double)shared_best;
	ret_speed->own = (double)length * 1e9 / (double)own_best;
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
	for (unsigned i = 0; i < TRIES; i++) {
		measure(ret_speed, to, memory, own, length);
		if (!memory_speed_is_slow(ret_speed))
			break;
	}
	free(own);
	free(to);
	return 0;
}

bool
memory_speed_is_slow(const struct memory_speed *speed)
{
	return speed->shared * SLOW_FACTOR < speed->own;
}
