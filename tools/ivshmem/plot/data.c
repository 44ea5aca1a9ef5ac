/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot/data.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct data *
data_new(void)
{
	struct data *data = calloc(1, sizeof(*data));

	if (data)
		data->sampled = -1;
	return data;
}

struct data *
data_free(struct data *data)
{
	if (!data)
		return NULL;
	for (unsigned i = 0; i <= SERIES_MAX; i++)
		free(data->series[i].bins);
	free(data->channels);
	free(data);
	return NULL;
}

/* ---- numbers of channels -------------------------------------------------------------------- */

static struct channel_number *
find_slot(struct channel_number *channels, size_t capacity, uint64_t number)
{
	size_t i = (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (capacity - 1);

	while (channels[i].number_plus_1 != 0 && channels[i].number_plus_1 != number + 1)
		i = (i + 1) & (capacity - 1);
	return &channels[i];
}

/* At most half of the slots are used. */
static int
make_room(struct data *data)
{
	size_t capacity = data->channels_capacity ? 2 * data->channels_capacity : 256;
	struct channel_number *more;

	if (2 * (data->n_channels + 1) <= data->channels_capacity)
		return 0;
	if (data->n_channels >= CHANNELS_MAX)
		return -E2BIG;
	more = calloc(capacity, sizeof(*more));
	if (!more)
		return -ENOMEM;
	for (size_t i = 0; i < data->channels_capacity; i++)
		if (data->channels[i].number_plus_1 != 0)
			*find_slot(more, capacity, data->channels[i].number_plus_1 - 1) =
				data->channels[i];
	free(data->channels);
	data->channels = more;
	data->channels_capacity = capacity;
	return 0;
}

static bool
is_like(const struct series *a, const struct series *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->kind, b->kind) == 0 &&
	       strcmp(a->from, b->from) == 0 && strcmp(a->to, b->to) == 0;
}

/* Returns its number. */
static int
find_series(struct data *data, const struct series *like)
{
	struct series *series;
	unsigned i = 0;

	while (i < data->n_series && i < SERIES_MAX && !is_like(&data->series[i], like))
		i++;
	if (i < data->n_series)
		return (int)i;
	series = &data->series[i];
	if (i < SERIES_MAX) {
		*series = *like;
		data->n_series++;
	}
	if (!series->bins)
		series->bins = calloc(BINS, sizeof(*series->bins));
	return series->bins ? (int)i : -ENOMEM;
}

int
data_add_channel(struct data *data, uint64_t number, const struct series *like)
{
	struct channel_number *slot;
	int r = make_room(data);

	if (r < 0)
		return r;
	slot = find_slot(data->channels, data->channels_capacity, number);
	if (slot->number_plus_1 != 0)
		return -EEXIST;
	r = find_series(data, like);
	if (r < 0)
		return r;
	*slot = (struct channel_number){number + 1, (unsigned)r};
	data->n_channels++;
	return 0;
}

/* ---- samples -------------------------------------------------------------------------------- */

static double
greater(double a, double b)
{
	return a > b ? a : b;
}

static void
add_bin(struct bin *to, const struct bin *bin)
{
	to->seconds += bin->seconds;
	to->bytes += bin->bytes;
	to->records += bin->records;
	to->top_bytes = greater(to->top_bytes, bin->top_bytes);
	to->top_records = greater(to->top_records, bin->top_records);
	to->fill = greater(to->fill, bin->fill);
	to->waits = greater(to->waits, bin->waits);
	to->time += bin->time;
	to->n += bin->n;
}

/* Each two bins become one. */
static void
merge_bins(struct series *series)
{
	if (!series->bins)
		return;
	for (unsigned i = 0; i < BINS / 2; i++) {
		struct bin bin = series->bins[2 * i];

		add_bin(&bin, &series->bins[2 * i + 1]);
		series->bins[i] = bin;
	}
	memset(series->bins + BINS / 2, 0, BINS / 2 * sizeof(*series->bins));
}

int
data_begin_sample(struct data *data, double time)
{
	if (time < data->sampled)
		return -EINVAL;
	if (data->bin_seconds <= 0)
		data->bin_seconds = data->interval > 0.001 ? data->interval : 0.001;
	while (time / data->bin_seconds >= BINS) {
		for (unsigned i = 0; i <= SERIES_MAX; i++)
			merge_bins(&data->series[i]);
		for (unsigned i = 0; i < BINS / 2; i++)
			data->samples[i] = data->samples[2 * i] + data->samples[2 * i + 1];
		memset(data->samples + BINS / 2, 0, BINS / 2 * sizeof(data->samples[0]));
		data->bin_seconds *= 2;
	}
	return 0;
}

int
data_add_row(
	struct data *data, uint64_t number, double bytes, double records, double fill, double waits)
{
	const struct channel_number *slot;
	struct series *series;

	if (data->n_channels == 0)
		return -ENOENT;
	slot = find_slot(data->channels, data->channels_capacity, number);
	if (slot->number_plus_1 == 0)
		return -ENOENT;
	series = &data->series[slot->series];
	if (!series->touched) {
		series->touched = true;
		series->is_rated = false;
		series->bytes = series->records = series->fill = series->waits = 0;
	}
	series->is_rated = series->is_rated || bytes >= 0 || records >= 0;
	series->bytes += greater(bytes, 0);
	series->records += greater(records, 0);
	series->fill = greater(series->fill, fill);
	series->waits = greater(series->waits, waits);
	return 0;
}

static size_t
bin_of(const struct data *data, double time)
{
	size_t i = (size_t)(time / data->bin_seconds);

	return i < BINS ? i : BINS - 1;
}

static void
end_series(const struct data *data, struct series *series, double time)
{
	double seconds = data->sampled >= 0 && series->is_rated ? time - data->sampled : 0;
	struct bin bin = {
		.seconds = seconds,
		.bytes = series->bytes * seconds,
		.records = series->records * seconds,
		.top_bytes = series->bytes,
		.top_records = series->records,
		.fill = series->fill,
		.waits = series->waits,
		.time = time,
		.n = 1,
	};

	series->touched = false;
	add_bin(&series->bins[bin_of(data, time)], &bin);
	add_bin(&series->all, &bin);
}

void
data_end_sample(struct data *data, double time)
{
	for (unsigned i = 0; i <= SERIES_MAX; i++)
		if (data->series[i].touched)
			end_series(data, &data->series[i], time);
	data->samples[bin_of(data, time)]++;
	data->sampled = time;
	data->end = greater(data->end, time);
	data->n_samples++;
}

/* ---- events and round trips ----------------------------------------------------------------- */

void
data_add_event(struct data *data, const struct event *event)
{
	data->end = greater(data->end, event->time);
	if (data->n_events == EVENTS_MAX)
		data->n_more_events++;
	else
		data->events[data->n_events++] = *event;
}

unsigned
histogram_bucket(double us)
{
	double ns = us * 1000;
	double bucket = ns > 1 ? log2(ns) * BUCKETS_PER_OCTAVE : 0;

	return bucket < BUCKETS - 1 ? (unsigned)bucket : BUCKETS - 1;
}

double
histogram_bucket_start(unsigned bucket)
{
	return exp2((double)bucket / BUCKETS_PER_OCTAVE) / 1000;
}

void
data_add_round_trip(struct data *data, double us)
{
	struct histogram *histogram = &data->histogram;

	histogram->counts[histogram_bucket(us)]++;
	if (histogram->n == 0 || us < histogram->least)
		histogram->least = us;
	if (histogram->n == 0 || us > histogram->most)
		histogram->most = us;
	histogram->n++;
}

double
histogram_quantile(const struct histogram *histogram, double part)
{
	double wanted = part * (double)histogram->n;
	uint64_t before = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		before += histogram->counts[i];
		if (before > 0 && (double)before >= wanted) {
			double middle =
				(histogram_bucket_start(i) + histogram_bucket_start(i + 1)) / 2;

			return middle > histogram->most    ? histogram->most
			       : middle < histogram->least ? histogram->least
							   : middle;
		}
	}
	return histogram->most;
}
