/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static double
fill_of(uint64_t unread, uint64_t ring_size)
{
	double fill = ring_size > 0 ? (double)unread / (double)ring_size : -1;

	return fill > 1 ? 1 : fill;
}

/* ---- one row -------------------------------------------------------------------------------- */

static unsigned
count_readers(const struct sample *sample, const struct sample_channel *publisher)
{
	unsigned n = 0;

	for (size_t i = 0; i < sample->n_channels; i++) {
		const struct sample_channel *channel = &sample->channels[i];

		n += channel->has_peer && channel->kind == publisher->kind &&
		     channel->peer_area == publisher->area &&
		     channel->peer_entry == publisher->entry;
	}
	return n;
}

static void
fill_in_published(
	const struct sample *sample, const struct sample_channel *channel, struct top_row *row)
{
	const struct sample_channel *publisher;

	if (!channel->has_peer) {
		row->n_readers = count_readers(sample, channel);
		return;
	}
	row->to = row->from;
	row->from = sample_find_participant(sample, channel->peer_area);
	publisher = sample_find(sample, channel->peer_area, channel->peer_entry);
	if (publisher && channel->kind == IVSHMEM_TOPIC)
		row->fill = fill_of(channel->unread, publisher->ring_size);
}

static bool
has_carried(const struct sample_channel *sender, const struct sample_channel *receiver)
{
	return sender->unread > 0 || receiver->received > 0;
}

/* Of two directions through which nothing went, the one with the smaller ring is idle. */
static bool
is_idle(const struct sample_channel *channel, const struct sample_channel *other)
{
	if (has_carried(channel, other))
		return false;
	if (has_carried(other, channel) || channel->ring_size != other->ring_size)
		return has_carried(other, channel) || channel->ring_size < other->ring_size;
	return channel->area != other->area ? channel->area > other->area
					    : channel->entry > other->entry;
}

static void
fill_in_connected(
	const struct sample *sample, const struct sample_channel *channel, struct top_row *row)
{
	const struct sample_channel *other = sample_other_end(sample, channel);

	if (!channel->has_peer)
		return;
	row->to = sample_find_participant(sample, channel->peer_area);
	/* A sender that fills its ring while we look at it may hide how far it is. */
	if (channel->sent > 0 || !other || other->received == 0)
		row->fill = fill_of(channel->unread, channel->ring_size);
	row->idle = other && is_idle(channel, other);
}

static struct top_row
make_row(
	const struct sample *sample, const struct rate_of *of, const struct sample_channel *channel)
{
	struct top_row row = {
		.channel = channel,
		.from = sample_find_participant(sample, channel->area),
		.bytes =
			sample_is_published(channel) && channel->has_peer ? of->received : of->sent,
		.records = of->published,
		.fill = -1,
		.unread = channel->unread,
		.waits = of->waits,
	};

	if (sample_is_published(channel))
		fill_in_published(sample, channel, &row);
	else
		fill_in_connected(sample, channel, &row);
	return row;
}

int
top_rows_make(const struct sample *sample, const struct top_rates *rates, struct top_rows *ret_rows)
{
	struct top_rows made = {.rows = calloc(sample->n_channels + 1, sizeof(*made.rows))};

	if (!made.rows)
		return -ENOMEM;
	for (size_t i = 0; i < sample->n_channels && i < rates->n; i++) {
		struct top_row row = make_row(sample, &rates->of[i], &sample->channels[i]);

		made.rows[made.n++] = row;
		made.n_idle += row.idle;
		made.unread += row.unread;
		/* Readers of a topic count its bytes again: they do not pass through more rings. */
		if (row.bytes > 0 && !(sample_is_published(row.channel) && row.channel->has_peer))
			made.bytes += row.bytes;
		if (row.records > 0)
			made.records += row.records;
	}
	*ret_rows = made;
	return 0;
}

void
top_rows_free(struct top_rows *rows)
{
	free(rows->rows);
	*rows = (struct top_rows){.n = 0};
}

/* ---- their order ---------------------------------------------------------------------------- */

static int
descending(double a, double b)
{
	return a > b ? -1 : a < b;
}

static int
compare_areas(const struct top_row *a, const struct top_row *b)
{
	if (a->channel->area != b->channel->area)
		return a->channel->area < b->channel->area ? -1 : 1;
	return a->channel->entry < b->channel->entry ? -1 : a->channel->entry > b->channel->entry;
}

static int
compare_rates(const struct top_row *a, const struct top_row *b)
{
	int order = descending(a->bytes, b->bytes);

	return order != 0 ? order : descending(a->records, b->records);
}

static int
compare(const void *left, const void *right, void *data)
{
	const enum top_sort *sort = data;
	const struct top_row *a = left, *b = right;
	int order = 0;

	switch (*sort) {
	case TOP_BY_RATE:
		order = compare_rates(a, b);
		break;
	case TOP_BY_NAME:
		order = strcmp(a->channel->name, b->channel->name);
		break;
	case TOP_BY_UNREAD:
		order = a->unread > b->unread ? -1 : a->unread < b->unread;
		break;
	case TOP_BY_WAITS:
		order = descending(a->waits, b->waits);
		break;
	case TOP_BY_AREA:
	case TOP_SORTS:
		break;
	}
	return order != 0 ? order : compare_areas(a, b);
}

void
top_rows_sort(struct top_rows *rows, enum top_sort sort)
{
	qsort_r(rows->rows, rows->n, sizeof(*rows->rows), compare, &sort);
}
