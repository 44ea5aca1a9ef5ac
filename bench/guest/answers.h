/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_GUEST_ANSWERS_H
#define BENCH_GUEST_ANSWERS_H

/*
 * Sleeps in poll() and rings back, with the vector that was rung, by the device that was rung.
 *
 *	vector 0	comes by an eventfd, from our driver and from vfio
 *	vector 1	from our driver: the node can be read
 */

#include "device.h"

#define MAX_DEVICES 16

void answers_begin(const struct device *devices, unsigned n);

/* Answers `caller` until there is a line on the standard input. */
void answers_give(unsigned caller);

#endif
