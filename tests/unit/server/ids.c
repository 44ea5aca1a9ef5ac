/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/ids.h>

#include <test.h>

#include <errno.h>

#define NOBODY UINT64_MAX

static struct ids ids;

void
test_before(void)
{
	ids_init(&ids);
}

static void
check_take(uint64_t oldest, uint16_t expected)
{
	uint16_t id = 4711;

	CHECK_EQ(ids_take(&ids, oldest, &id), 0);
	CHECK_EQ(id, expected);
}

/* Each of these is taken and released again. */
static void
check_take_in_turn(uint64_t oldest, unsigned first, unsigned last, bool announced)
{
	for (unsigned id = first; id <= last; id++) {
		check_take(oldest, (uint16_t)id);
		ids_release(&ids, (uint16_t)id, announced);
	}
}

static void
check_no_id(uint64_t oldest)
{
	uint16_t id = 4711;

	CHECK_EQ(ids_take(&ids, oldest, &id), -ENOSPC);
	CHECK_EQ(id, 4711);
}

TEST(first_is_0_and_then_they_count)
{
	for (unsigned i = 0; i < 1000; i++) {
		check_take(NOBODY, (uint16_t)i);
		CHECK_EQ(ids.n_used, i + 1);
	}
}

TEST(stamps_grow)
{
	uint64_t last = ids_stamp(&ids);

	for (int i = 0; i < 100; i++) {
		uint64_t stamp = ids_stamp(&ids);

		CHECK(stamp > last);
		last = stamp;
	}
}

TEST(id_of_a_holder_that_a_present_client_saw_is_not_used_again)
{
	uint64_t witness;

	/* Somebody was there while 1 lived ... */
	check_take(NOBODY, 0);
	witness = ids_stamp(&ids);
	check_take_in_turn(witness, 1, 65535, true);
	/* ... and so for each of them: there is no safe id left. */
	check_no_id(witness);
	/* Somebody who came later saw none of them. */
	check_take(ids_stamp(&ids), 1);
}

TEST(all_65536_can_be_used_at_once_and_the_next_is_refused)
{
	for (unsigned i = 0; i < 65536; i++)
		check_take(NOBODY, (uint16_t)i);
	CHECK_EQ(ids.n_used, IDS_COUNT);
	check_no_id(NOBODY);
	check_no_id(1);
	/* One leaves, and its id is the only one. */
	ids_release(&ids, 40000, true);
	CHECK_EQ(ids.n_used, IDS_COUNT - 1);
	check_no_id(1);
	check_take(NOBODY, 40000);
	check_no_id(NOBODY);
	/* The one just before the place where the search starts: the last candidate of all. */
	ids_release(&ids, 40000, true);
	check_take(NOBODY, 40000);
	check_no_id(NOBODY);
}

TEST(reserved_ids_are_handed_to_nobody)
{
	CHECK_EQ(ids_reserve(&ids, 0), 0);
	CHECK_EQ(ids_reserve(&ids, 2), 0);
	CHECK_EQ(ids_reserve(&ids, 2), -EINVAL);
	check_take(NOBODY, 1);
	check_take(NOBODY, 3);
	CHECK_EQ(ids_spent(&ids, NOBODY), 4);
}

TEST(spent_are_those_in_use_and_those_that_somebody_remembers)
{
	uint64_t first, second;

	CHECK_EQ(ids_spent(&ids, NOBODY), 0);
	check_take(NOBODY, 0);
	first = ids_stamp(&ids);
	for (uint16_t i = 1; i <= 10; i++) {
		check_take(first, i);
		ids_release(&ids, i, true);
	}
	second = ids_stamp(&ids);
	/* Who was never announced is no loss. */
	check_take(first, 11);
	ids_release(&ids, 11, false);
	CHECK_EQ(ids_spent(&ids, first), 11);
	CHECK_EQ(ids_spent(&ids, second), 1);
	check_take(second, 12);
	ids_release(&ids, 12, true);
	CHECK_EQ(ids_spent(&ids, second), 2);
	CHECK_EQ(ids_spent(&ids, NOBODY), 1);
}
