/* SPDX-License-Identifier: BSD-2-Clause */

#include "loop_owners.h"

#include <base/clock.h>
#include <test.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/*
 * Bells, timers and chores that add, remove, set and cancel each other at random. What is removed
 * must not be called, which its owner checks; and nothing may be used after it was freed, which a
 * sanitizer checks.
 */
#define CROWD 40

static struct crowd {
	unsigned seed;
	unsigned calls;
	struct bell *bells[CROWD];
	struct alarm_clock *clocks[CROWD];
	struct chore *chores[CROWD];
} crowd;

static void crowd_act(void);

/* One of them was called, and it is there. */
static void
crowd_called(bool is_there)
{
	CHECK(is_there);
	diary[0] = 0;
	crowd.calls++;
	crowd_act();
}

static void
crowd_bell(struct bell *bell)
{
	crowd_called(crowd.bells[(int)bell->letter] == bell);
}

static void
crowd_clock(struct alarm_clock *clock)
{
	crowd_called(crowd.clocks[(int)clock->letter] == clock);
}

static void
crowd_chore(struct chore *chore)
{
	crowd_called(crowd.chores[(int)chore->letter] == chore);
}

static void
crowd_toggle_bell(int i)
{
	if (crowd.bells[i]) {
		bell_free(crowd.bells[i]);
		crowd.bells[i] = NULL;
	} else {
		crowd.bells[i] = bell_new((char)i, (unsigned)rand_r(&crowd.seed) % 2);
		crowd.bells[i]->action = crowd_bell;
	}
}

static void
crowd_toggle_clock(int i)
{
	if (crowd.clocks[i]) {
		loop_timer_cancel(&crowd.clocks[i]->timer);
		free(crowd.clocks[i]);
		crowd.clocks[i] = NULL;
	} else {
		crowd.clocks[i] = calloc(1, sizeof(struct alarm_clock));
		CHECK(crowd.clocks[i]);
		crowd.clocks[i]->action = crowd_clock;
		alarm_set(crowd.clocks[i], (char)i,
			clock_now() + (uint64_t)rand_r(&crowd.seed) % 100000);
	}
}

static void
crowd_toggle_chore(int i)
{
	if (crowd.chores[i]) {
		loop_work_cancel(&crowd.chores[i]->work);
		free(crowd.chores[i]);
		crowd.chores[i] = NULL;
	} else {
		crowd.chores[i] = calloc(1, sizeof(struct chore));
		CHECK(crowd.chores[i]);
		crowd.chores[i]->action = crowd_chore;
		chore_defer(crowd.chores[i], (char)i);
	}
}

static void
crowd_act(void)
{
	for (int n = rand_r(&crowd.seed) % 4; n > 0; n--) {
		int i = rand_r(&crowd.seed) % CROWD;

		switch (rand_r(&crowd.seed) % 5) {
		case 0:
			crowd_toggle_bell(i);
			break;
		case 1:
			crowd_toggle_clock(i);
			break;
		case 2:
			crowd_toggle_chore(i);
			break;
		case 3:
			if (crowd.bells[i])
				eventfd_write(crowd.bells[i]->source.fd, 1);
			break;
		default:
			if (crowd.clocks[i])
				alarm_set(crowd.clocks[i], (char)i,
					clock_now() + (uint64_t)rand_r(&crowd.seed) % 100000);
			break;
		}
	}
}

TEST(crowd_of_sources_that_remove_each_other)
{
	const char *seed = getenv("TEST_SEED");

	crowd.seed = seed ? (unsigned)strtoul(seed, NULL, 0) : (unsigned)clock_now();
	printf("TEST_SEED=%u\n", crowd.seed);
	while (crowd.calls < 50000) {
		CHECK(loop_dispatch(loop, 0) >= 0);
		crowd_act();
	}
	for (int i = 0; i < CROWD; i++) {
		if (crowd.bells[i])
			crowd_toggle_bell(i);
		if (crowd.clocks[i])
			crowd_toggle_clock(i);
		if (crowd.chores[i])
			crowd_toggle_chore(i);
	}
}
