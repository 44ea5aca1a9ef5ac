/* SPDX-License-Identifier: BSD-2-Clause */
#include "rates.h"

#include <base/clock.h>

#include <errno.h>
#include <stdlib.h>

struct rate_sample {
	unsigned area, entry;
	uint32_t area_generation, generation;
	uint64_t time; /* clock_now(); between two channels, our output may have had to wait */
	uint64_t received, number;
};

void
rates_participant(struct rates *rates, const struct ivshmem_participant_info *info)
{
	rates->generation = info->generation;
}

int
rates_remember(struct rates *rates, const struct ivshmem_channel_info *info)
{
	if (rates->n == rates->capacity) {
		size_t capacity = rates->capacity ? 2 * rates->capacity : 64;
		struct rate_sample *more =
			reallocarray(rates->samples, capacity, sizeof(*rates->samples));

		if (!more)
			return -ENOMEM;
		rates->samples = more;
		rates->capacity = capacity;
	}
	rates->samples[rates->n++] = (struct rate_sample){
		.area = info->area,
		.entry = info->entry,
		.area_generation = rates->generation,
		.generation = info->generation,
		.time = clock_now(),
		.received = info->received,
		.number = info->number,
	};
	return 0;
}

static bool
comes_before(const struct rate_sample *sample, const struct ivshmem_channel_info *info)
{
	return sample->area != info->area ? sample->area < info->area : sample->entry < info->entry;
}

/* What has grown from `before` to `after`. What others write into the memory may also shrink. */
static double
growth(uint64_t before, uint64_t after, double seconds)
{
	return after > before && seconds > 0 ? (double)(after - before) / seconds : 0;
}

bool
rates_compare(struct rates *rates, const struct ivshmem_channel_info *info, struct rate *ret_rate)
{
	const struct rate_sample *sample;
	double seconds;

	while (rates->next < rates->n && comes_before(&rates->samples[rates->next], info))
		rates->next++;
	if (rates->next == rates->n)
		return false;
	sample = &rates->samples[rates->next];
	if (sample->area != info->area || sample->entry != info->entry ||
		sample->area_generation != rates->generation ||
		sample->generation != info->generation)
		return false;
	seconds = (double)(clock_now() - sample->time) / NSEC_PER_SEC;
	ret_rate->received = growth(sample->received, info->received, seconds);
	ret_rate->published = growth(sample->number, info->number, seconds);
	return true;
}

void
rates_free(struct rates *rates)
{
	free(rates->samples);
	*rates = (struct rates){.n = 0};
}
