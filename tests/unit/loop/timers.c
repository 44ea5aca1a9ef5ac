/* SPDX-License-Identifier: BSD-2-Clause */

/* What loop.h promises of timers and of deferred work. */

#include "loop_owners.h"

#include <base/clock.h>
#include <test.h>

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* ---- timers --------------------------------------------------------------------------------- */

TEST(timer_that_was_never_set)
{
	struct loop_timer timer = {0};

	CHECK(!loop_timer_is_set(&timer));
	loop_timer_cancel(&timer);
	CHECK(!loop_timer_is_set(&timer));
}

TEST(timer_comes_once_and_not_early)
{
	struct alarm_clock clock = {0};

	alarm_set(&clock, 't', clock_now() + 30 * NSEC_PER_MSEC);
	CHECK(loop_timer_is_set(&clock.timer));
	/* The callback checks that it is not early. */
	check_round("t");
	CHECK(!loop_timer_is_set(&clock.timer));
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_timer_cancel(&clock.timer);
}

TEST(timer_in_the_past_fires_in_the_next_round)
{
	struct alarm_clock clock = {0};

	alarm_set(&clock, 'a', 0);
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	alarm_set(&clock, 'b', 1);
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	alarm_set(&clock, 'c', clock_now());
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("abc");
}

TEST(timers_come_in_the_order_of_their_deadlines)
{
	struct alarm_clock clocks[5] = {0};

	/* All due at once; equal deadlines in the order of setting. */
	alarm_set(&clocks[0], 'd', 40);
	alarm_set(&clocks[1], 'a', 10);
	alarm_set(&clocks[2], 'c', 30);
	alarm_set(&clocks[3], 'b', 10);
	alarm_set(&clocks[4], 'e', 50);
	check_round("abcde");
}

TEST(distinct_deadlines_wake_one_by_one)
{
	struct alarm_clock clocks[3] = {0};
	uint64_t now = clock_now();

	alarm_set(&clocks[0], 'c', now + 60 * NSEC_PER_MSEC);
	alarm_set(&clocks[1], 'a', now + 20 * NSEC_PER_MSEC);
	alarm_set(&clocks[2], 'b', now + 40 * NSEC_PER_MSEC);
	while (loop_timer_is_set(&clocks[0].timer))
		CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("abc");
}

TEST(setting_again_moves_a_timer)
{
	struct alarm_clock clock = {0}, other = {0};

	/* Away from now ... */
	alarm_set(&clock, 'a', 0);
	alarm_set(&clock, 'a', clock_now() + 3600 * NSEC_PER_SEC);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	/* ... before another one ... */
	alarm_set(&other, 'b', 20);
	alarm_set(&clock, 'a', 10);
	check_round("ab");
	/* ... and behind it; it comes once. */
	alarm_set(&clock, 'a', 10);
	alarm_set(&other, 'b', 20);
	alarm_set(&clock, 'a', 30);
	check_round("ba");
}

TEST(cancelled_timer_does_not_come)
{
	struct alarm_clock clock = {0}, other = {0};
	struct pollfd poll_fd = {.fd = loop_fd(loop), .events = POLLIN};

	alarm_set(&clock, 'a', 0);
	loop_timer_cancel(&clock.timer);
	CHECK(!loop_timer_is_set(&clock.timer));
	/* Nor does it wake anybody. */
	CHECK_EQ(CHECK_SYS(poll(&poll_fd, 1, 0)), 0);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_timer_cancel(&clock.timer);
	/* Cancelling the soonest leaves the later ones. */
	alarm_set(&clock, 'a', 0);
	alarm_set(&other, 'b', clock_now() + 20 * NSEC_PER_MSEC);
	loop_timer_cancel(&clock.timer);
	check_round("b");
}

static void
alarm_sets_itself(struct alarm_clock *clock)
{
	alarm_set(clock, clock->letter, 0);
}

TEST(timer_that_sets_itself_waits_for_the_next_round)
{
	struct alarm_clock clock = {.action = alarm_sets_itself};

	alarm_set(&clock, 't', 0);
	for (int i = 0; i < 5; i++) {
		check_round("t");
	}
	loop_timer_cancel(&clock.timer);
}

static void
alarm_cancels_other(struct alarm_clock *clock)
{
	struct alarm_clock *other = clock->data;

	loop_timer_cancel(&other->timer);
}

TEST(timer_cancels_another_that_is_due_in_the_same_round)
{
	struct alarm_clock first = {.action = alarm_cancels_other}, second = {0}, third = {0};

	first.data = &second;
	alarm_set(&first, 'a', 10);
	alarm_set(&second, 'b', 20);
	alarm_set(&third, 'c', 30);
	check_round("ac");
}

static void
alarm_delays_other(struct alarm_clock *clock)
{
	struct alarm_clock *other = clock->data;

	alarm_set(other, other->letter, clock_now() + 3600 * NSEC_PER_SEC);
}

TEST(timer_delays_another_that_is_due_in_the_same_round)
{
	struct alarm_clock first = {.action = alarm_delays_other}, second = {0};

	first.data = &second;
	alarm_set(&first, 'a', 10);
	alarm_set(&second, 'b', 20);
	check_round("a");
	CHECK(loop_timer_is_set(&second.timer));
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_timer_cancel(&second.timer);
}

static void
alarm_frees_itself(struct alarm_clock *clock)
{
	free(clock);
}

TEST(timer_frees_itself)
{
	for (int i = 0; i < 3; i++) {
		struct alarm_clock *clock = calloc(1, sizeof(*clock));

		CHECK(clock);
		clock->action = alarm_frees_itself;
		alarm_set(clock, (char)('a' + i), (uint64_t)i);
	}
	check_round("abc");
}

static bool bell_came_first;

static void
bell_cancels_alarm(struct bell *bell)
{
	struct alarm_clock *clock = bell->data;

	bell_came_first = true;
	bell_quiet(bell);
	loop_timer_cancel(&clock->timer);
}

static void
alarm_frees_bell(struct alarm_clock *clock)
{
	bell_free(clock->data);
}

TEST(descriptor_and_timer_of_one_round_cancel_each_other)
{
	/* Whichever comes first, the other one does not come. */
	struct bell *bell = bell_new('x', 1);
	struct alarm_clock clock = {.action = alarm_frees_bell};

	bell->action = bell_cancels_alarm;
	bell->data = &clock;
	clock.data = bell;
	alarm_set(&clock, 'x', 0);
	/* What did not run is not counted. */
	check_round("x");
	drain();
	check_diary("");
	if (bell_came_first)
		bell_free(bell);
}

static void
bell_sets_later_alarm(struct bell *bell)
{
	struct alarm_clock *clock = bell->data;

	bell_quiet(bell);
	alarm_set(clock, 'l', clock_now() + 3600 * NSEC_PER_SEC);
}

static void
bell_sets_earlier_alarm(struct bell *bell)
{
	struct alarm_clock *clock = bell->data;

	bell_quiet(bell);
	alarm_set(clock, 'e', 0);
}

TEST(due_timer_is_not_lost_when_others_are_set_in_its_round)
{
	struct bell *early = bell_new('1', 1), *late = bell_new('2', 1);
	struct alarm_clock due = {0}, earlier = {0}, later = {0};

	early->action = bell_sets_earlier_alarm;
	early->data = &earlier;
	late->action = bell_sets_later_alarm;
	late->data = &later;
	alarm_set(&due, 'd', 50);
	drain();
	check_diary_in_any_order("12de");
	CHECK(loop_timer_is_set(&later.timer));
	loop_timer_cancel(&later.timer);
	bell_free(early);
	bell_free(late);
}

/* ---- deferred work -------------------------------------------------------------------------- */

TEST(work_that_was_never_deferred)
{
	struct loop_work work = {0};

	loop_work_cancel(&work);
	CHECK(!work.loop);
}

TEST(work_runs_once_and_without_waiting)
{
	struct chore chore = {0};

	chore_defer(&chore, 'a');
	chore_defer(&chore, 'a');
	chore_defer(&chore, 'a');
	check_round("a");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	chore_defer(&chore, 'a');
	check_round("a");
}

TEST(work_runs_in_the_order_of_deferring)
{
	struct chore chores[3] = {0};

	chore_defer(&chores[2], 'c');
	chore_defer(&chores[0], 'a');
	chore_defer(&chores[1], 'b');
	chore_defer(&chores[2], 'c'); /* keeps its place */
	check_round("cab");
}

static void
bell_defers(struct bell *bell)
{
	bell_quiet(bell);
	chore_defer(bell->data, 'w');
}

static void
alarm_defers(struct alarm_clock *clock)
{
	chore_defer(clock->data, 'v');
}

TEST(work_comes_after_descriptors_and_timers_of_the_round)
{
	struct bell *bell = bell_new('a', 1);
	struct alarm_clock clock = {.action = alarm_defers};
	struct chore before = {0}, by_bell = {0}, by_clock = {0};

	bell->action = bell_defers;
	bell->data = &by_bell;
	clock.data = &by_clock;
	alarm_set(&clock, 'b', 0);
	chore_defer(&before, 'u');
	CHECK_EQ(loop_dispatch(loop, -1), 5);
	CHECK_EQ(strlen(diary), 5);
	/* Descriptor and timer in any order, then what was deferred before, then what they
	 * deferred. */
	CHECK(strncmp(diary, "abuwv", 5) == 0 || strncmp(diary, "bauvw", 5) == 0);
	bell_free(bell);
}

static void
chore_defers_itself(struct chore *chore)
{
	chore_defer(chore, chore->letter);
}

TEST(work_deferred_by_work_waits_for_the_next_round)
{
	struct chore chore = {.action = chore_defers_itself};

	chore_defer(&chore, 'a');
	for (int i = 0; i < 5; i++) {
		/* Which does not sleep. */
		check_round("a");
	}
	loop_work_cancel(&chore.work);
}

static void
chore_cancels_other(struct chore *chore)
{
	struct chore *other = chore->data;

	loop_work_cancel(&other->work);
}

TEST(work_cancels_other_work_of_the_round)
{
	struct chore first = {.action = chore_cancels_other}, second = {0}, third = {0};

	first.data = &second;
	chore_defer(&first, 'a');
	chore_defer(&second, 'b');
	chore_defer(&third, 'c');
	check_round("ac");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_work_cancel(&second.work);
}

static void
chore_frees_itself_and_other(struct chore *chore)
{
	struct chore *other = chore->data;

	loop_work_cancel(&other->work);
	free(other);
	free(chore);
}

TEST(work_frees_itself_and_other_work)
{
	struct chore *first = calloc(1, sizeof(*first)), *second = calloc(1, sizeof(*second));

	CHECK(first && second);
	first->action = chore_frees_itself_and_other;
	first->data = second;
	chore_defer(first, 'a');
	chore_defer(second, 'b');
	check_round("a");
}

TEST(cancelled_work_can_be_deferred_again_at_the_end)
{
	struct chore first = {0}, second = {0};

	chore_defer(&first, 'a');
	chore_defer(&second, 'b');
	loop_work_cancel(&first.work);
	chore_defer(&first, 'a');
	check_round("ba");
}

static void
chore_frees_bell(struct chore *chore)
{
	bell_free(chore->data);
}

TEST(work_removes_a_source)
{
	struct bell *bell = bell_new('a', 1);
	struct chore chore = {.action = chore_frees_bell, .data = bell};

	chore_defer(&chore, 'w');
	check_round("aw");
}
