/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_RATES_H
#define IVSHMEM_RATES_H

/*
 * How quickly something goes through channels: what they were like at a first look is remembered, and
 * compared at a second one. Each look tells of all participants, and of their channels after them.
 */

#include <ivshmem/channel.h>

#include <stdbool.h>
#include <stddef.h>

struct rate_sample;

struct rates {
	struct rate_sample *samples; /* of the first look, as it told of them */
	size_t n, capacity;
	size_t next;         /* the second look has passed those before */
	uint32_t generation; /* of the area that we are told of */
};

/* For both looks: the next participant. */
void rates_participant(struct rates *rates, const struct ivshmem_participant_info *info);

/* At the first look: the next channel. 0, or -ENOMEM. */
int rates_remember(struct rates *rates, const struct ivshmem_channel_info *info);

struct rate {
	double received;  /* bytes per second */
	double published; /* records or values per second */
};

/* At the second look: false if this channel was not there at the first one. */
bool rates_compare(
	struct rates *rates, const struct ivshmem_channel_info *info, struct rate *ret_rate);

void rates_free(struct rates *rates);

#endif
