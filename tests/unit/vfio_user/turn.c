/* SPDX-License-Identifier: BSD-2-Clause */

/* A lock that is given to whoever asked first. */

#include <vfio_user/turn.h>

#include <test.h>

#include <limits.h>
#include <sched.h>
#include <stdbool.h>

static struct turn turn;
/* Used with the lock held only: */
static bool stop;
static unsigned shared, rounds;

/* Until so many wait for the lock, which we have. */
static void
wait_for_waiters(unsigned n)
{
	unsigned waiters;

	do {
		pthread_mutex_lock(&turn.mutex);
		waiters = turn.next - turn.called - 1;
		pthread_mutex_unlock(&turn.mutex);
		sched_yield();
	} while (waiters < n);
}

/* Gives the lock back and takes it again at once, and keeps it for long. */
static void *
hog(void *data)
{
	(void)data;
	for (bool end = false; !end;) {
		turn_take(&turn);
		rounds++;
		for (unsigned i = 0; i < 20000; i++)
			shared++;
		end = stop;
		turn_give_back(&turn);
	}
	return NULL;
}

static void *
look(void *data)
{
	turn_take(&turn);
	*(unsigned *)data = rounds;
	turn_give_back(&turn);
	return NULL;
}

/* Whoever asks while another one waits has the turn after that one's, however eager it is. */
TEST_WITH(nobody_is_passed_over, .timeout_s = 120)
{
	pthread_t thread, other;

	turn_init(&turn);
	CHECK_EQ(pthread_create(&thread, NULL, hog, NULL), 0);
	for (unsigned i = 0; i < 200; i++) {
		unsigned before, after = 0;

		turn_take(&turn);
		before = rounds;
		wait_for_waiters(1);
		CHECK_EQ(pthread_create(&other, NULL, look, &after), 0);
		wait_for_waiters(2);
		turn_give_back(&turn);
		CHECK_EQ(pthread_join(other, NULL), 0);
		CHECK_EQ(after, before + 1);
	}
	turn_take(&turn);
	stop = true;
	turn_give_back(&turn);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(shared, rounds * 20000);
	turn_done(&turn);
}

TEST(numbers_overflow)
{
	unsigned seen = 0;
	pthread_t other;

	turn_init(&turn);
	turn.next = turn.called = UINT_MAX;
	turn_take(&turn);
	CHECK_EQ(pthread_create(&other, NULL, look, &seen), 0);
	wait_for_waiters(1);
	rounds = 7;
	turn_give_back(&turn);
	CHECK_EQ(pthread_join(other, NULL), 0);
	CHECK_EQ(seen, 7);
	turn_done(&turn);
}

static void *
count(void *data)
{
	(void)data;
	for (unsigned i = 0; i < 2000; i++) {
		turn_take(&turn);
		shared++;
		turn_give_back(&turn);
	}
	return NULL;
}

TEST(many_threads)
{
	pthread_t threads[4];

	turn_init(&turn);
	/* Numbers that overflow. */
	turn.next = turn.called = ~100U;
	shared = 0;
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, count, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(shared, 8000);
	turn_done(&turn);
}
