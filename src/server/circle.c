/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/circle.h>

#include <errno.h>
#include <stdlib.h>

static struct list *
bucket_of(struct circles *circles, uint32_t number)
{
	return &circles->buckets[number % CIRCLE_BUCKETS];
}

static struct circle *
find(struct circles *circles, uint32_t number)
{
	list_for_each (link, bucket_of(circles, number)) {
		struct circle *circle = container_of(link, struct circle, bucket);

		if (circle->number == number)
			return circle;
	}
	return NULL;
}

int
circle_get(struct circles *circles, const struct view *view, struct circle **ret_circle)
{
	struct circle *circle = NULL;

	*ret_circle = NULL;
	if (view->kind == VIEW_ALL)
		return 0;
	if (view->kind == VIEW_CIRCLE)
		circle = find(circles, view->circle);
	if (!circle) {
		circle = calloc(1, sizeof(*circle));
		if (!circle)
			return -ENOMEM;
		circle->number = view->circle;
		list_init(&circle->log);
		list_init(&circle->idle);
		list_init(&circle->bucket);
		list_append(&circles->all, &circle->link);
		if (view->kind == VIEW_CIRCLE)
			list_append(bucket_of(circles, circle->number), &circle->bucket);
	}
	circle->n_peers++;
	*ret_circle = circle;
	return 0;
}

void
circle_put(struct circle *circle)
{
	if (!circle || --circle->n_peers > 0)
		return;
	list_remove(&circle->link);
	list_remove(&circle->bucket);
	free(circle);
}

void
circles_init(struct circles *circles)
{
	list_init(&circles->all);
	for (unsigned i = 0; i < CIRCLE_BUCKETS; i++)
		list_init(&circles->buckets[i]);
}

void
circles_done(struct circles *circles)
{
	list_for_each_safe (link, &circles->all)
		free(container_of(link, struct circle, link));
	circles_init(circles);
}
