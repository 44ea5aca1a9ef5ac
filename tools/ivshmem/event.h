/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_EVENT_H
#define IVSHMEM_EVENT_H

/* What a session reports to the command that has it. */

#include <stdint.h>

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

#endif
