/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_RATES_H
#define TOP_RATES_H

/*
 * What is known from two samples or more: how quickly something goes through each channel, and for how long
 * what was not received has been waiting.
 *
 * Theory of operation. How far an end has received is a position that only grows, and the end itself says it;
 * so that gives the rate. How far the other end has sent is seen from the records in its ring; a sender that
 * fills its ring while somebody looks may hide it, so it is used for waiting times only. A mark is a position
 * that had been sent by the time of a sample. Marks that have been received are dropped; the oldest one that is
 * left has been waiting since its sample, at least.
 */

#include "top/sample.h"

/* Of a channel of the latest sample. What is not known is -1. */
struct rate_of {
	double received; /* bytes per second that this end received */
	double sent;     /* bytes per second that the other end received of what this one sent; of a
			     topic, that were published */
	double published; /* records or values per second */
	double waits;     /* seconds since the oldest of what is not received was there, at least */
};

struct rate_track;

struct top_rates {
	struct rate_of *of; /* for each channel of the latest sample, in the same order */
	size_t n;
	struct rate_track *tracks; /* the same */
	uint64_t serials;          /* how many channels there were */
	unsigned group;
};

/* Take another sample. 0, or -ENOMEM. */
int top_rates_add(struct top_rates *rates, const struct sample *sample);

void top_rates_free(struct top_rates *rates);

/* The number of a channel, which no other one has had since the first sample. */
uint64_t top_rates_serial(const struct top_rates *rates, size_t i);
/* Whether this is the first time that somebody asks about this channel. */
bool top_rates_is_news(struct top_rates *rates, size_t i);

#endif
