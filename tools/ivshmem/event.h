/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_EVENT_H
#define IVSHMEM_EVENT_H

/* What can happen to a session, and the line that monitor and shell print for it. */

#include "cli.h"

#include <stdint.h>

struct session;

enum event_type {
	EVENT_ATTACHED,  /* for the first time or again */
	EVENT_JOINED,    /* peer, vectors */
	EVENT_VECTORS,   /* peer, vectors: more of them */
	EVENT_LEFT,      /* peer */
	EVENT_INTERRUPT, /* vector, count */
	EVENT_LOST,      /* error, text: why */
	EVENT_MESSAGE,   /* text: for stderr, not a result */
};

struct event {
	enum event_type type;
	uint16_t peer;
	unsigned vectors;
	unsigned vector;
	uint64_t count;
	int error; /* a negative errno */
	const char *text;
};

/* Print the event to stdout as a line of text, with the time of day in front if asked for, or of
 * JSON. */
void event_print(const struct session *session, const struct event *event, bool time_of_day);

/* The forms of JSON that event_print() produces, for the help. */
#define EVENT_JSON_HELP                                                                            \
	"{\"time\":UNIX-SECONDS,\"event\":\"attached\",\"target\":T,\"id\":I,\"vectors\":N,"       \
	"\"size\":BYTES}\n"                                                                        \
	"{...,\"event\":\"joined\",\"peer\":P,\"vectors\":N}\n"                                    \
	"{...,\"event\":\"vectors\",\"peer\":P,\"vectors\":N}\n"                                   \
	"{...,\"event\":\"left\",\"peer\":P}\n"                                                    \
	"{...,\"event\":\"interrupt\",\"vector\":V,\"count\":C}\n"                                 \
	"{...,\"event\":\"lost\",\"reason\":TEXT}"

#endif
