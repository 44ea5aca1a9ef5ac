/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODEL_RANDOM_H
#define MODEL_RANDOM_H

/*
 * Random sequences that can be repeated: each sequence has a number, which is printed before it runs, and
 * TEST_SEED=NUMBER in the environment runs this one first. TEST_SECONDS says how long to go on with others.
 */

#include <base/clock.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define RANDOM_SECONDS 2

struct random_source {
	uint64_t state;
};

static inline uint64_t
random_u64(struct random_source *source)
{
	uint64_t z = source->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 to n - 1. */
static inline unsigned
random_below(struct random_source *source, unsigned n)
{
	return (unsigned)(random_u64(source) % n);
}

/* Call `sequence` with one seed after the other until the time is over. Returns how often. */
static inline unsigned
random_sequences(void (*sequence)(struct random_source *source))
{
	const char *seed_text = getenv("TEST_SEED"), *seconds_text = getenv("TEST_SECONDS");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : clock_now() & 0xffffffff;
	uint64_t seconds = seconds_text ? strtoull(seconds_text, NULL, 0) : RANDOM_SECONDS;
	uint64_t end = clock_now() + seconds * NSEC_PER_SEC;
	unsigned n = 0;

	do {
		struct random_source source = {.state = seed};

		printf("TEST_SEED=%" PRIu64 "\n", seed);
		sequence(&source);
		seed++;
		n++;
	} while (clock_now() < end);
	printf("%u sequences\n", n);
	return n;
}

#endif
