/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_EVENTS_H
#define TOP_EVENTS_H

/* What happens in a group, and the latest of it. */

#include "top/sample.h"

enum top_event_type {
	TOP_ATTACHED,
	TOP_JOINED, /* a peer */
	TOP_LEFT,
	TOP_CAME, /* one who takes part in channels */
	TOP_WENT,
	TOP_DIED,
	TOP_GONE, /* another one has its area: nobody knows how it ended */
	TOP_LOST, /* the server */
	TOP_SAID, /* the library, or we */
	TOP_EVENT_TYPES
};

struct top_event {
	enum top_event_type type;
	double date; /* seconds since 1970 */
	uint16_t peer;
	unsigned vectors;
	unsigned area;
	uint32_t pid;
	char name[64];  /* of a participant */
	char text[128]; /* why, or what */
};

#define TOP_EVENTS_MAX 256

struct top_events {
	struct top_event event[TOP_EVENTS_MAX]; /* number n is at n % TOP_EVENTS_MAX */
	uint64_t n;                             /* how many there ever were */
};

void top_events_add(struct top_events *events, const struct top_event *event);

/* Number `i` of those that there ever were; NULL if it is too old or did not happen yet. */
const struct top_event *top_events_get(const struct top_events *events, uint64_t i);

/* What happened to those who take part, between a sample and the one after it. */
void top_events_compare(
	struct top_events *events, const struct sample *before, const struct sample *after);

/* "joined", "died"; a static string. */
const char *top_event_word(enum top_event_type type);

/* "peer 3 joined (2 vectors)". Returns `text`. */
#define TOP_EVENT_TEXT_MAX 256
const char *top_event_text(const struct top_event *event, char text[TOP_EVENT_TEXT_MAX]);

#endif
