/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOP_COLLECT_H
#define TOP_COLLECT_H

/*
 * Makes samples of the group that a session is attached to, and keeps what the session hears between them.
 * It takes no area and writes nothing: the memory is mapped for reading only from the moment we have it.
 */

#include "session.h"
#include "top/events.h"
#include "top/rates.h"
#include "top/sample.h"

struct collector {
	struct session *session;
	struct sample sample; /* the latest one */
	struct sample seen;   /* the latest one before it that has no problem */
	struct top_rates rates;
	struct top_events events;
	unsigned group;        /* how often we were attached */
	bool rings;            /* to be set by who wants to know of those, too */
	bool quiet;            /* what the session tells of now was there before us */
	double since[1 << 16]; /* when each peer joined, in seconds since 1970 */
};

/* Attach. NULL: a message was printed, and `*ret_status` says how to end. */
struct collector *collector_open(const struct cli *cli, bool signals, enum status *ret_status);
struct collector *collector_free(struct collector *collector);

/* Make another sample. Memory that is not there any more is a sample with a problem. 0, or -ENOMEM, and the
 * sample before it stays. */
int collector_look(struct collector *collector);

#endif
