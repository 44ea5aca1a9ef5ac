/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_CIRCLE_H
#define SERVER_CIRCLE_H

/*
 * Circles of peers. A peer with a circle sees those of its circle, and those that have none, and
 * nobody else. A peer without a circle sees everybody. policy.h says who is in which.
 */

#include <base/list.h>

#include <stdint.h>

#define CIRCLE_BUCKETS 1024

enum view_kind {
	VIEW_ALL,    /* it has no circle */
	VIEW_ALONE,  /* a circle of its own */
	VIEW_CIRCLE, /* the one with a number */
};

struct view {
	enum view_kind kind;
	uint32_t circle; /* VIEW_CIRCLE, else 0 */
};

struct circle {
	struct list link;   /* circles::all */
	struct list bucket; /* circles::buckets, if it has a number */
	uint32_t number;
	unsigned n_peers; /* that refer to it */
	struct list log;  /* event::part, of its peers */
	struct list idle; /* client::nap, for clients.c */
};

struct circles {
	struct list all;
	struct list buckets[CIRCLE_BUCKETS];
};

void circles_init(struct circles *circles);
/* Nobody may use one any more. */
void circles_done(struct circles *circles);

/* The circle of this view; *ret_circle is NULL for VIEW_ALL. One more peer refers to it. -ENOMEM. */
int circle_get(struct circles *circles, const struct view *view, struct circle **ret_circle);
/* One less. NULL is allowed. */
void circle_put(struct circle *circle);

#endif
