/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_MEMORY_SPEED_H
#define DOCTOR_MEMORY_SPEED_H

/*
 * How quickly memory is read, compared with memory of our own. That which the processor does not cache is
 * 10 to 100 times slower; and what the page table says does not tell, because the host may have the last
 * word.
 */

#include <stdbool.h>
#include <stdint.h>

/* In bytes per second. */
struct memory_speed {
	double shared;
	double own;
};

/* Reads the first 64 KiB of the memory, and so gives no page to memory beyond. 0, -ENOMEM, or -ENODATA: it is
 * too small. */
int memory_speed_measure(
	struct memory_speed *ret_speed, const volatile void *memory, uint64_t size);

/* The judgement. */
bool memory_speed_is_slow(const struct memory_speed *speed);

#endif
