/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PLOT_DATA_H
#define PLOT_DATA_H

/*
 * What a recording contains, as far as a picture shows it.
 *
 * Theory of operation. A picture has room for so many points, however long the recording is. So each series
 * has a fixed number of bins, each for a piece of time. When the recording goes on beyond the last bin, each
 * two become one, and a bin is for twice the time. A bin has means and maxima, so that a spike stays visible.
 *
 * Channels with the same name, kind and ends are one series: of connections that come and go, what matters is
 * what goes through all of them. Series beyond SERIES_MAX are one series. So the memory that is needed does
 * not depend on the recording, except for the numbers of channels, of which there may be CHANNELS_MAX.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BINS         400
#define SERIES_MAX   128
#define CHANNELS_MAX (1u << 20)
#define EVENTS_MAX   1000

struct bin {
	double seconds; /* for which the rates are known */
	double bytes, records;
	double top_bytes, top_records; /* the greatest rates */
	double fill, waits;            /* the greatest ones; of those that are seen */
	double time;                   /* the sum of the times of samples */
	unsigned n;                    /* samples */
};

struct series {
	char name[64], kind[8], from[64], to[64];
	struct bin all;   /* all of the time */
	struct bin *bins; /* BINS of them */
	/* In the sample that is being read: sums over its channels. */
	bool touched;
	bool is_rated;
	double bytes, records, fill, waits;
};

struct event {
	double time;
	char word[12];
	char text[128];
};

/* Times in microseconds. A bucket is 1/32 of an octave. */
#define BUCKETS_PER_OCTAVE 32
#define BUCKETS            (64 * BUCKETS_PER_OCTAVE)
struct histogram {
	uint64_t counts[BUCKETS];
	uint64_t n;
	double least, most;
};

struct data {
	double date, interval, size;
	char target[128];
	char ping[64];

	double end;     /* the time of the last sample, event or round trip */
	double sampled; /* that of the last sample; -1: there is none */
	uint64_t n_samples;
	double bin_seconds;
	unsigned samples[BINS]; /* in the time of each bin */

	struct series series[SERIES_MAX + 1]; /* the last one is all others */
	unsigned n_series;
	struct channel_number {
		uint64_t number_plus_1; /* 0: unused */
		unsigned series;
	} * channels;
	size_t n_channels, channels_capacity; /* a power of two */

	struct event events[EVENTS_MAX];
	size_t n_events;
	uint64_t n_more_events;
	struct histogram histogram;
};

/* NULL: out of memory. */
struct data *data_new(void);
struct data *data_free(struct data *data);

/* The channel `number` belongs to this series. 0, -ENOMEM, -EEXIST (it is known), or -E2BIG (too many). */
int data_add_channel(struct data *data, uint64_t number, const struct series *like);

/* A sample: first begin, then a row for each channel, then end. -EINVAL: it is before the one before it. */
int data_begin_sample(struct data *data, double time);
/* -ENOENT: there is no such channel. What is not known is -1. */
int data_add_row(struct data *data, uint64_t number, double bytes, double records, double fill,
	double waits);
void data_end_sample(struct data *data, double time);

void data_add_event(struct data *data, const struct event *event);
void data_add_round_trip(struct data *data, double us);

/* The time that `part` of the round trips do not exceed, within 2 %. */
double histogram_quantile(const struct histogram *histogram, double part);

/* The bucket of a time, and where it begins. */
unsigned histogram_bucket(double us);
double histogram_bucket_start(unsigned bucket);

#endif
