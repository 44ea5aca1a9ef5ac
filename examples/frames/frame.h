/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FRAME_H
#define FRAME_H

/* What producer and consumer agree on: a frame is this header, and behind it the pixels. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define FRAME_WIDTH  1920
#define FRAME_HEIGHT 1080
/* NV12: a byte of luma for each pixel, and two bytes of chroma for each four of them. */
#define FRAME_PIXELS ((size_t)FRAME_WIDTH * FRAME_HEIGHT * 3 / 2)
#define FRAME_SIZE   (sizeof(struct frame) + FRAME_PIXELS)

struct frame {
	uint64_t number; /* from 1 on */
	uint64_t sent_at;
	uint64_t checksum;
	uint64_t unused[5];
};

/* What the consumer answers as soon as it has a frame. The producer's clock is not the consumer's, so
 * only the producer can tell how long it took. */
struct frame_seen {
	uint64_t number;
	uint64_t sent_at;
};

static inline uint64_t
frame_checksum(const void *pixels)
{
	const uint64_t *words = pixels;
	uint64_t sum = 0;

	for (size_t i = 0; i < FRAME_PIXELS / sizeof(*words); i++)
		sum = (sum ^ words[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static inline uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The device of this guest, unless IVSHMEM_TARGET names something else (client.h). */
static inline const char *
target(void)
{
	const char *given = getenv("IVSHMEM_TARGET");

	return given ? given : "pci:auto";
}

#endif
