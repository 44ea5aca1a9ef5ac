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

static struct item items[5];
static struct list head;

void
test_before(void)
{
	list_init(&head);
	for (int i = 0; i < 5; i++) {
		items[i].number = i;
		list_init(&items[i].link);
	}
}

/* Those from number `first` to `last`. */
static void
append(struct list *list, int first, int last)
{
	for (int i = first; i <= last; i++)
		list_append(list, &items[i].link);
}

/* Demand that the list holds these numbers, to be ended with -1, in both directions. */
static void
check_list(struct list *list, ...)
{
	struct list *link = list;
	va_list args;

	va_start(args, list);
	for (int number = va_arg(args, int); number >= 0; number = va_arg(args, int)) {
		CHECK(link->next->prev == link);
		link = link->next;
		CHECK(link != list);
		CHECK_EQ(item_at(link)->number, number);
	}
	va_end(args);
	CHECK(link->next == list);
	CHECK(list->prev == link);
}

TEST(new_list_is_empty)
{
	CHECK(list_empty(&head));
	check_list(&head, -1);
}

TEST(append_keeps_order)
{
	append(&head, 0, 2);
	CHECK(!list_empty(&head));
	check_list(&head, 0, 1, 2, -1);
}

TEST(insert_before_any_item)
{
	append(&head, 2, 2);
	list_insert_before(&items[2].link, &items[0].link);
	list_insert_before(&items[2].link, &items[1].link);
	list_insert_before(&head, &items[3].link);
	check_list(&head, 0, 1, 2, 3, -1);
}

TEST(remove_from_any_place)
{
	append(&head, 0, 4);
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

TEST(remove_twice_or_what_never_was_on_a_list_is_harmless)
{
	append(&head, 0, 1);
	list_remove(&items[2].link);
	CHECK(list_empty(&items[2].link));
	list_remove(&items[0].link);
	CHECK(list_empty(&items[0].link));
	list_remove(&items[0].link);
	check_list(&head, 1, -1);
	/* And it can be put on a list again. */
	append(&head, 0, 0);
	check_list(&head, 1, 0, -1);
}

TEST(splice_moves_all_in_order)
{
	struct list from;

	list_init(&from);
	append(&head, 0, 1);
	append(&from, 2, 4);
	list_splice(&head, &from);
	check_list(&head, 0, 1, 2, 3, 4, -1);
	CHECK(list_empty(&from));
}

TEST(splice_of_nothing_and_into_nothing)
{
	struct list from;

	list_init(&from);
	list_splice(&head, &from);
	CHECK(list_empty(&head));
	CHECK(list_empty(&from));
	append(&from, 0, 1);
	list_splice(&head, &from);
	check_list(&head, 0, 1, -1);
	list_splice(&head, &from);
	check_list(&head, 0, 1, -1);
	CHECK(list_empty(&from));
}

TEST(for_each_visits_all)
{
	int sum = 0;

	list_for_each (link, &head)
		FAIL("visiting an empty list");
	append(&head, 0, 2);
	list_for_each (link, &head)
		sum = sum * 10 + item_at(link)->number;
	CHECK_EQ(sum, 12);
}

TEST(for_each_safe_may_free)
{
	int sum = 0;

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
