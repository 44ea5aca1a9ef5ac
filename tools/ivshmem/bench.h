/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_BENCH_H
#define IVSHMEM_BENCH_H

/*
 * Measuring channels. One end serves: it listens under three names, one for each kind of channel, and
 * does what whoever connects wants. The other end measures: it makes a new channel for each measurement.
 *
 *	bench		the command; both ends in two processes
 *	bench_serve	the end that serves
 *	bench_measure	the end that measures
 *
 * The first record of a queue says what is to become of the others. Streams are received, and calls are
 * answered with what they asked.
 */

#include "cli.h"
#include "participate.h"

#include <ivshmem/channel.h>

#include <stdio.h>

enum bench_wish {
	BENCH_TAKE = 't',  /* receive them */
	BENCH_ECHO = 'e',  /* send each back */
	BENCH_SLEEP = 's', /* the same, and sleep in poll() until there is one */
};

/* How many records both ends send, or receive, at a time. */
#define BENCH_BATCH 32
/* The longest record, or write. */
#define BENCH_MOST 65536
/* The longest record that is sent back. */
#define BENCH_ECHO_MOST 8

/* The longest name that a user may give, so that there is room for the rest of these. */
#define BENCH_NAME_MOST 40
#define BENCH_NAME_SIZE 56
static inline const char *
bench_channel_name(char buffer[BENCH_NAME_SIZE], const char *name, enum ivshmem_channel_kind kind)
{
	snprintf(buffer, BENCH_NAME_SIZE, "bench/%.*s/%s", BENCH_NAME_MOST, name,
		ivshmem_channel_kind_name(kind));
	return buffer;
}

struct bench {
	const struct cli *cli;
	const char *name;
	struct ivshmem_participant *participant;
	uint64_t duration; /* of each measurement, in nanoseconds */
	uint64_t
		timeout; /* without a sign of the other end, in nanoseconds; UINT64_MAX: for ever */
};

/*
 * Serve until SIGINT or SIGTERM; these end it in good order. `ready`, if it is not negative, gets a byte
 * when we listen.
 */
enum status bench_serve(const struct bench *bench, int ready);

/* Measure everything, and print it. */
enum status bench_measure(const struct bench *bench);

#endif
