/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC  UINT64_C(1000000000)

/* Monotonic nanoseconds. */
static inline uint64_t
clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* Seconds since 1970 of a moment of clock_now(). */
static inline double
clock_date(uint64_t moment)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9 -
	       (double)(clock_now() - moment) / 1e9;
}

/* When `timeout_ms` milliseconds are over; UINT64_MAX, which is never, if it is negative. */
static inline uint64_t
clock_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : clock_now() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
}

/* The milliseconds until `deadline`, rounded up: who sleeps for so long does not wake too early. */
static inline uint64_t
clock_left_ms(uint64_t deadline)
{
	uint64_t now = clock_now();

	return deadline > now ? (deadline - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC : 0;
}

#endif
