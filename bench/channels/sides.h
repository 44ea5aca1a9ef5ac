/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_SIDES_H
#define BENCH_SIDES_H

/*
 * Two processes, on a processor each, that pass something to each other. Nothing else preempts them
 * while they are measured, if we may ask for that (SCHED_FIFO).
 *
 * A side sets itself up, calls sides_begin(), which waits for the other one, and works. The
 * receiver, or whoever waits for answers, calls sides_end().
 */

#include <stddef.h>
#include <stdint.h>

struct sides {
	size_t length;      /* of a record, in bytes */
	uint64_t count;     /* of records, or round trips */
	const char *target; /* for libivshmem */
	int fds[2];         /* a pair of sockets, one for each side */
	void *memory;       /* SIDES_MEMORY bytes, zero, which both share */
	struct sides_clock *clock;
};

#define SIDES_MEMORY (4u << 20)

struct sides_case {
	const char *name;
	void (*send)(struct sides *sides);
	void (*receive)(struct sides *sides);
};

/* Runs the case that the arguments name, and prints nanoseconds for each record or round trip. */
int sides_main(int argc, char **argv, const struct sides_case *cases, size_t n_cases);

void sides_begin(struct sides *sides);
void sides_end(struct sides *sides);
/* Prints this instead: what was measured is not a time for each of something. */
void sides_result(struct sides *sides, double value);

/* Room for one record, in pages that are there. */
char *sides_buffer(const struct sides *sides);

/* A turn of a loop that waits for the other side. */
void sides_relax(void);

_Noreturn void sides_die(const char *what, int error);

#endif
