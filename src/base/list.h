/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_LIST_H
#define BASE_LIST_H

/*
 * Intrusive doubly linked lists. A `struct list` is the head of a list or the link of a member. An
 * initialised link that is on no list points to itself, so removing it twice is harmless.
 */

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

#define container_of(pointer, type, member)                                                        \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void
list_init(struct list *list)
{
	list->prev = list->next = list;
}

static inline bool
list_empty(const struct list *list)
{
	return list->next == list;
}

/* Insert `item` before `where`. Before the head is the end of the list. */
static inline void
list_insert_before(struct list *where, struct list *item)
{
	item->prev = where->prev;
	item->next = where;
	where->prev->next = item;
	where->prev = item;
}

static inline void
list_append(struct list *head, struct list *item)
{
	list_insert_before(head, item);
}

static inline void
list_remove(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

/* Move everything on `from` to the end of `to`. */
static inline void
list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_for_each(item, head)                                                                  \
	for (struct list *item = (head)->next; item != (head); item = item->next)

/* As above; the body may remove and free `item`, but nothing else on the list. */
#define list_for_each_safe(item, head)                                                             \
	for (struct list *item = (head)->next, *item##_next = item->next; item != (head);          \
		item = item##_next, item##_next = item->next)

#endif
