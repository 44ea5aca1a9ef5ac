/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/list.h>

#include <test.h>

#include <stdarg.h>
#include <stdlib.h>

struct item {
	int number;
	struct list link;
};

static struct item *
item_at(struct list *link)
{
	return container_of(link, struct item, link);
}

static void
items_init(struct item *items, int n)
{
	for (int i = 0; i < n; i++) {
		items[i].number = i;
		list_init(&items[i].link);
	}
}

/* Demand that the list holds these numbers, to be ended with -1, in both directions. */
static void
check_list(struct list *head, ...)
{
	struct list *link = head;
	va_list args;

	va_start(args, head);
	for (int number = va_arg(args, int); number >= 0; number = va_arg(args, int)) {
		CHECK(link->next->prev == link);
		link = link->next;
		CHECK(link != head);
		CHECK_EQ(item_at(link)->number, number);
	}
	va_end(args);
	CHECK(link->next == head);
	CHECK(head->prev == link);
}

TEST(new_list_is_empty)
{
	struct list head;

	list_init(&head);
	CHECK(list_empty(&head));
	check_list(&head, -1);
}

TEST(append_keeps_order)
{
	struct item items[3];
	struct list head;

	list_init(&head);
	items_init(items, 3);
	for (int i = 0; i < 3; i++)
		list_append(&head, &items[i].link);
	CHECK(!list_empty(&head));
	check_list(&head, 0, 1, 2, -1);
}

TEST(insert_before_any_item)
{
	struct item items[4];
	struct list head;

	list_init(&head);
	items_init(items, 4);
	list_append(&head, &items[2].link);
	list_insert_before(&items[2].link, &items[0].link);
	list_insert_before(&items[2].link, &items[1].link);
	list_insert_before(&head, &items[3].link);
	check_list(&head, 0, 1, 2, 3, -1);
}

TEST(remove_from_any_place)
{
	struct item items[5];
	struct list head;

	list_init(&head);
	items_init(items, 5);
	for (int i = 0; i < 5; i++)
		list_append(&head, &items[i].link);
	list_remove(&items[0].link);
	check_list(&head, 1, 2, 3, 4, -1);
	list_remove(&items[4].link);
	check_list(&head, 1, 2, 3, -1);
	list_remove(&items[2].link);
	check_list(&head, 1, 3, -1);
	list_remove(&items[1].link);
	list_remove(&items[3].link);
	check_list(&head, -1);
	CHECK(list_empty(&head));
}

TEST(remove_twice_is_harmless)
{
	struct item items[2];
	struct list head;

	list_init(&head);
	items_init(items, 2);
	list_append(&head, &items[0].link);
	list_append(&head, &items[1].link);
	list_remove(&items[0].link);
	CHECK(list_empty(&items[0].link));
	list_remove(&items[0].link);
	check_list(&head, 1, -1);
	/* And it can be put on a list again. */
	list_append(&head, &items[0].link);
	check_list(&head, 1, 0, -1);
}

TEST(remove_what_never_was_on_a_list)
{
	struct item item;

	items_init(&item, 1);
	list_remove(&item.link);
	CHECK(list_empty(&item.link));
}

TEST(splice_moves_all_in_order)
{
	struct item items[5];
	struct list to, from;

	list_init(&to);
	list_init(&from);
	items_init(items, 5);
	list_append(&to, &items[0].link);
	list_append(&to, &items[1].link);
	for (int i = 2; i < 5; i++)
		list_append(&from, &items[i].link);
	list_splice(&to, &from);
	check_list(&to, 0, 1, 2, 3, 4, -1);
	CHECK(list_empty(&from));
}

TEST(splice_of_nothing_and_into_nothing)
{
	struct item items[2];
	struct list to, from;

	list_init(&to);
	list_init(&from);
	items_init(items, 2);
	list_splice(&to, &from);
	CHECK(list_empty(&to));
	CHECK(list_empty(&from));
	list_append(&from, &items[0].link);
	list_append(&from, &items[1].link);
	list_splice(&to, &from);
	check_list(&to, 0, 1, -1);
	list_splice(&to, &from);
	check_list(&to, 0, 1, -1);
	CHECK(list_empty(&from));
}

TEST(for_each_visits_all)
{
	struct item items[3];
	struct list head;
	int sum = 0;

	list_init(&head);
	list_for_each (link, &head)
		FAIL("visiting an empty list");
	items_init(items, 3);
	for (int i = 0; i < 3; i++)
		list_append(&head, &items[i].link);
	list_for_each (link, &head)
		sum = sum * 10 + item_at(link)->number;
	CHECK_EQ(sum, 12);
}

TEST(for_each_safe_may_free)
{
	struct list head;
	int sum = 0;

	list_init(&head);
	for (int i = 0; i < 3; i++) {
		struct item *item = malloc(sizeof(*item));

		item->number = i;
		list_append(&head, &item->link);
	}
	list_for_each_safe (link, &head) {
		struct item *item = item_at(link);

		sum = sum * 10 + item->number;
		list_remove(link);
		free(item);
	}
	CHECK_EQ(sum, 12);
	CHECK(list_empty(&head));
}
