/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

/* What the programs of the benchmarks need to measure anything. */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Ends the program, with errno in words. */
_Noreturn void die(const char *what);

uint64_t clock_ns(clockid_t clock);

/* Stay on this CPU; -1: on any. */
void cpu_pin(int cpu);

/* Sorts the numbers. There is one at least. */
uint64_t median(uint64_t *numbers, size_t n);

#endif
