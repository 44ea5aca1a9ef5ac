/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/sample.h"

#include <stdlib.h>
#include <string.h>

void
sample_free(struct sample *sample)
{
	free(sample->peers);
	free(sample->rings);
	free(sample->participants);
	free(sample->channels);
	free(sample->fates);
	*sample = (struct sample){.n_peers = 0};
}

void
sample_copy_text(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size - 1);

	memcpy(to, from, length);
	to[length] = 0;
}

/* The first of the channels, which are sorted, that does not come before this place. */
static size_t
find_place(const struct sample *sample, unsigned area, unsigned entry)
{
	size_t low = 0, high = sample->n_channels;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct sample_channel *channel = &sample->channels[middle];

		if (channel->area < area || (channel->area == area && channel->entry < entry))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct sample_channel *
sample_find(const struct sample *sample, unsigned area, unsigned entry)
{
	size_t i = find_place(sample, area, entry);
	const struct sample_channel *channel = &sample->channels[i];

	return i < sample->n_channels && channel->area == area && channel->entry == entry ? channel
											  : NULL;
}

const struct sample_participant *
sample_find_participant(const struct sample *sample, unsigned area)
{
	for (size_t i = 0; i < sample->n_participants; i++)
		if (sample->participants[i].area == area)
			return &sample->participants[i];
	return NULL;
}

static bool
refers_to(const struct sample_channel *channel, const struct sample_channel *other)
{
	return channel->has_peer && channel->peer_area == other->area &&
	       channel->peer_entry == other->entry;
}

const struct sample_channel *
sample_other_end(const struct sample *sample, const struct sample_channel *channel)
{
	const struct sample_channel *other;

	if (!channel->has_peer || sample_is_published(channel))
		return NULL;
	other = sample_find(sample, channel->peer_area, channel->peer_entry);
	if (other && refers_to(other, channel))
		return other;
	/* One that connects refers to the listener, and the end that was made for it to it. */
	for (size_t i = find_place(sample, channel->peer_area, 0);
		i < sample->n_channels && sample->channels[i].area == channel->peer_area; i++)
		if (refers_to(&sample->channels[i], channel))
			return &sample->channels[i];
	return NULL;
}
