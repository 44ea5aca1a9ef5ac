/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/rates.h"

#include <base/clock.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* With more of them, times would be more precise. */
#define MARKS 16

struct mark {
	uint64_t time;
	uint64_t position;
};

/* A channel as it was in the latest sample. */
struct rate_track {
	unsigned area, entry;
	uint32_t area_generation, generation;
	uint64_t serial;
	bool told; /* top_rates_is_news() said so */
	uint64_t time;
	uint64_t received, sent, number;
	struct mark marks[MARKS]; /* the oldest first */
	unsigned n_marks;
};

static int
compare_places(unsigned area, unsigned entry, const struct sample_channel *channel)
{
	if (area != channel->area)
		return area < channel->area ? -1 : 1;
	if (entry != channel->entry)
		return entry < channel->entry ? -1 : 1;
	return 0;
}

/* The track of the same channel of the sample before, or NULL. Both are sorted, so `*next` only grows. */
static const struct rate_track *
find_track(const struct top_rates *rates, size_t *next, const struct sample_channel *channel)
{
	const struct rate_track *track;

	while (*next < rates->n &&
		compare_places(rates->tracks[*next].area, rates->tracks[*next].entry, channel) < 0)
		++*next;
	if (*next == rates->n)
		return NULL;
	track = &rates->tracks[*next];
	return compare_places(track->area, track->entry, channel) == 0 &&
			       track->area_generation == channel->area_generation &&
			       track->generation == channel->generation
		       ? track
		       : NULL;
}

/* What has grown, per second. What others write into the memory may also shrink. */
static double
growth(uint64_t before, uint64_t after, double seconds)
{
	if (seconds <= 0)
		return -1;
	return after > before ? (double)(after - before) / seconds : 0;
}

/* ---- what waits ----------------------------------------------------------------------------- */

static void
drop_received(struct rate_track *track, uint64_t received)
{
	unsigned n = 0;

	while (n < track->n_marks && track->marks[n].position <= received)
		n++;
	track->n_marks -= n;
	memmove(track->marks, track->marks + n, track->n_marks * sizeof(track->marks[0]));
}

/* Drop the mark that is closest to its neighbours; the oldest and the latest stay. */
static void
thin_out(struct rate_track *track)
{
	unsigned least = 1;

	for (unsigned i = 2; i + 1 < track->n_marks; i++)
		if (track->marks[i + 1].time - track->marks[i - 1].time <
			track->marks[least + 1].time - track->marks[least - 1].time)
			least = i;
	track->n_marks--;
	memmove(track->marks + least, track->marks + least + 1,
		(track->n_marks - least) * sizeof(track->marks[0]));
}

static void
add_mark(struct rate_track *track, uint64_t time, uint64_t position)
{
	if (track->n_marks > 0 && track->marks[track->n_marks - 1].position >= position)
		return;
	if (track->n_marks == MARKS)
		thin_out(track);
	track->marks[track->n_marks++] = (struct mark){time, position};
}

/* How far others have received what this end sends, and how far it has sent; false: that is not known. */
static bool
find_positions(const struct sample_channel *channel, uint64_t *ret_received, uint64_t *ret_sent)
{
	if (channel->kind == IVSHMEM_STATE || sample_is_publisher(channel))
		return false;
	if (channel->kind == IVSHMEM_TOPIC) {
		/* It is the reader that says how much it has yet to read. */
		*ret_received = channel->received;
		*ret_sent = channel->received + channel->unread;
		return true;
	}
	*ret_received = channel->sent - channel->unread;
	*ret_sent = channel->sent;
	return channel->sent >= channel->unread && channel->sent > 0;
}

static double
waiting_time(struct rate_track *track, const struct sample_channel *channel, uint64_t now)
{
	uint64_t received, sent;

	if (!find_positions(channel, &received, &sent))
		return channel->unread > 0 ? -1 : 0;
	drop_received(track, received);
	if (sent > received)
		add_mark(track, now, sent);
	return track->n_marks == 0 ? 0 : (double)(now - track->marks[0].time) / NSEC_PER_SEC;
}

/* ---- how quickly ---------------------------------------------------------------------------- */

static struct rate_track
new_track(const struct sample_channel *channel, uint64_t serial)
{
	return (struct rate_track){
		.area = channel->area,
		.entry = channel->entry,
		.area_generation = channel->area_generation,
		.generation = channel->generation,
		.serial = serial,
	};
}

static struct rate_of
compare(const struct rate_track *before, struct rate_track *track,
	const struct sample_channel *channel, uint64_t now)
{
	struct rate_of of = {-1, -1, -1, -1};
	double seconds = before ? (double)(now - before->time) / NSEC_PER_SEC : 0;

	if (before && sample_is_receiver(channel))
		of.received = growth(before->received, channel->received, seconds);
	if (before && sample_is_publisher(channel)) {
		of.published = growth(before->number, channel->number, seconds);
		if (channel->kind == IVSHMEM_TOPIC)
			of.sent = growth(before->sent, channel->sent, seconds);
	}
	of.waits = waiting_time(track, channel, now);
	track->time = now;
	track->received = channel->received;
	track->sent = channel->sent;
	track->number = channel->number;
	return of;
}

/* What an end has sent, its other end has received. */
static void
find_sent(struct rate_of *of, const struct sample *sample)
{
	for (size_t i = 0; i < sample->n_channels; i++) {
		const struct sample_channel *other = sample_other_end(sample, &sample->channels[i]);

		if (other)
			of[i].sent = of[other - sample->channels].received;
	}
}

int
top_rates_add(struct top_rates *rates, const struct sample *sample)
{
	struct top_rates next = {
		.n = sample->n_channels, .group = sample->group, .serials = rates->serials};
	size_t track = 0;

	if (rates->group != sample->group)
		rates->n = 0;
	next.of = calloc(next.n + 1, sizeof(*next.of));
	next.tracks = calloc(next.n + 1, sizeof(*next.tracks));
	if (!next.of || !next.tracks) {
		top_rates_free(&next);
		return -ENOMEM;
	}
	for (size_t i = 0; i < next.n; i++) {
		const struct sample_channel *channel = &sample->channels[i];
		const struct rate_track *before = find_track(rates, &track, channel);

		next.tracks[i] = before ? *before : new_track(channel, next.serials++);
		next.of[i] = compare(before, &next.tracks[i], channel, sample->time);
	}
	find_sent(next.of, sample);
	top_rates_free(rates);
	*rates = next;
	return 0;
}

void
top_rates_free(struct top_rates *rates)
{
	free(rates->of);
	free(rates->tracks);
	*rates = (struct top_rates){.n = 0};
}

uint64_t
top_rates_serial(const struct top_rates *rates, size_t i)
{
	return rates->tracks[i].serial;
}

bool
top_rates_is_news(struct top_rates *rates, size_t i)
{
	bool news = !rates->tracks[i].told;

	rates->tracks[i].told = true;
	return news;
}
