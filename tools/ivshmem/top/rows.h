/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_ROWS_H
#define TOP_ROWS_H

/*
 * What goes through channels, a row for each direction: from whom, to whom, how quickly, and what waits. Two
 * connected ends are two rows, and one of them mostly carries nothing; that one is marked as idle.
 */

#include "top/rates.h"

enum top_sort { TOP_BY_RATE, TOP_BY_NAME, TOP_BY_UNREAD, TOP_BY_WAITS, TOP_BY_AREA, TOP_SORTS };

struct top_row {
	const struct sample_channel
		*channel; /* whose end sends, listens or publishes; of a reader, its own */
	const struct sample_participant *from, *to; /* NULL: nobody, or not known */
	unsigned n_readers;                         /* of one who publishes */
	bool idle;
	double bytes, records; /* per second; -1: not known */
	double fill;           /* of its ring, 0 to 1; -1: it makes no sense */
	uint64_t unread;
	double waits; /* seconds; -1: not known */
};

struct top_rows {
	struct top_row *rows;
	size_t n, n_idle;
	double bytes, records; /* of all, per second */
	uint64_t unread;
};

/* `rates` has been given this sample last. The rows are valid as long as the sample. 0, or -ENOMEM. */
int top_rows_make(
	const struct sample *sample, const struct top_rates *rates, struct top_rows *ret_rows);
void top_rows_sort(struct top_rows *rows, enum top_sort sort);
void top_rows_free(struct top_rows *rows);

#endif
