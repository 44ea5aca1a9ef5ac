/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_GUEST_TASKS_H
#define BENCH_GUEST_TASKS_H

/* What is done with a device again and again, to see what it costs. */

#include "device.h"

struct task {
	const char *name;

	/* Whether the device can be used like this; readies it, until end(). */
	bool (*begin)(const struct device *device);

	/* Does it so many times, or copies so many bytes, which is the unit that is timed. */
	void (*run)(const struct device *device, unsigned amount);
	unsigned amount;
	void (*end)(void); /* or NULL */
};

/* The peer whose vector 0 is rung; it never looks. */
extern unsigned tasks_idle_peer;

/* Each ends with one that has no name. */
extern const struct task tasks_reads[], tasks_rings[], tasks_copies[];

/*
 * The time of one, or for one byte, in ns: the median of the units that `sample_ns` has room for, so
 * that whatever else the machine does now and then is left out. -1 if the device cannot.
 */
double task_measure(const struct task *task, const struct device *device, uint64_t sample_ns);

#endif
