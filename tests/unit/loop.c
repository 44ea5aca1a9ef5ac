/* SPDX-License-Identifier: BSD-2-Clause */

/* Every rule that loop.h states. Removed owners are freed at once, so that a sanitizer sees late
 * use. */

#include <loop.h>

#include <clock.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

/* ---- owners that write down what happened --------------------------------------------------- */

static char diary[1024]; /* a letter per callback */

static void
note(char letter)
{
	size_t length = strlen(diary);

	CHECK(length + 1 < sizeof(diary));
	diary[length] = letter;
	diary[length + 1] = 0;
}

/* The diary as a sorted set of letters: descriptors of one round come in no promised order. */
static int
compare_letters(const void *a, const void *b)
{
	return *(const char *)a - *(const char *)b;
}

static void
check_diary(const char *expected)
{
	CHECK_STR(diary, expected);
	diary[0] = 0;
}

static void
check_diary_in_any_order(const char *expected)
{
	qsort(diary, strlen(diary), 1, compare_letters);
	check_diary(expected);
}

struct bell; /* a watched eventfd */
typedef void (*bell_action)(struct bell *bell);

struct bell {
	char letter;
	uint32_t events; /* as of the last callback */
	struct loop_source source;
	bell_action action;
	void *data;
};

static void
bell_rang(struct loop_source *source, uint32_t events)
{
	struct bell *bell = container_of(source, struct bell, source);

	bell->events = events;
	note(bell->letter);
	if (bell->action)
		bell->action(bell);
}

static struct bell *
bell_new(struct loop *loop, char letter, unsigned count)
{
	struct bell *bell = calloc(1, sizeof(*bell));
	int fd = CHECK_SYS(eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK));

	CHECK(bell);
	bell->letter = letter;
	CHECK_EQ(loop_add(loop, &bell->source, fd, EPOLLIN, bell_rang), 0);
	return bell;
}

static void
bell_free(struct bell *bell)
{
	loop_del(&bell->source);
	close(bell->source.fd);
	free(bell);
}

static void
bell_quiet(struct bell *bell)
{
	uint64_t count;

	CHECK_EQ(read(bell->source.fd, &count, sizeof(count)), sizeof(count));
}

struct alarm_clock {
	char letter;
	struct loop_timer timer;
	void (*action)(struct alarm_clock *clock);
	void *data;
	struct loop *loop;
};

static void
alarm_due(struct loop_timer *timer)
{
	struct alarm_clock *clock = container_of(timer, struct alarm_clock, timer);

	CHECK(clock_now() >= timer->deadline);
	CHECK(!loop_timer_is_set(timer));
	note(clock->letter);
	if (clock->action)
		clock->action(clock);
}

static void
alarm_set(struct loop *loop, struct alarm_clock *clock, char letter, uint64_t deadline)
{
	clock->loop = loop;
	clock->letter = letter;
	loop_timer_set(loop, &clock->timer, deadline, alarm_due);
}

struct chore {
	char letter;
	struct loop_work work;
	void (*action)(struct chore *chore);
	void *data;
	struct loop *loop;
};

static void
chore_do(struct loop_work *work)
{
	struct chore *chore = container_of(work, struct chore, work);

	note(chore->letter);
	if (chore->action)
		chore->action(chore);
}

static void
chore_defer(struct loop *loop, struct chore *chore, char letter)
{
	chore->loop = loop;
	chore->letter = letter;
	loop_defer(loop, &chore->work, chore_do);
}

static struct loop *
new_loop(void)
{
	struct loop *loop;

	CHECK_EQ(loop_new(&loop), 0);
	return loop;
}

/* Rounds until nothing happens any more. */
static void
drain(struct loop *loop)
{
	int r;

	while ((r = loop_dispatch(loop, 0)) > 0)
		;
	CHECK_EQ(r, 0);
}

/* ---- the loop itself ------------------------------------------------------------------------ */

TEST(new_and_free)
{
	struct loop *loop = new_loop();

	CHECK(loop_fd(loop) >= 0);
	CHECK(fcntl(loop_fd(loop), F_GETFD) & FD_CLOEXEC);
	CHECK(loop_free(loop) == NULL);
	CHECK(loop_free(NULL) == NULL);
}

TEST(new_without_descriptors_left)
{
	struct loop *untouched = (struct loop *)&diary, *loop = untouched;
	unsigned open_fds = test_open_fds();

	/* It takes two, and must give the first back if there is no second. */
	for (unsigned room = 0; room < 2; room++) {
		struct rlimit limit = {open_fds + room, 1024};

		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
		CHECK_EQ(loop_new(&loop), -EMFILE);
		CHECK(loop == untouched);
	}
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024}));
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(nothing_to_do)
{
	struct loop *loop = new_loop();
	uint64_t before = clock_now();

	CHECK_EQ(loop_dispatch(loop, 0), 0);
	CHECK_EQ(loop_dispatch(loop, 20), 0);
	CHECK(clock_now() - before >= 19 * NSEC_PER_MSEC);
	loop_free(loop);
}

static void
on_alarm_signal(int number)
{
	(void)number;
}

TEST(signal_interrupts_dispatch_but_not_run)
{
	struct loop *loop = new_loop();
	struct sigaction action = {.sa_handler = on_alarm_signal};
	struct itimerval often = {{0, 1000}, {0, 1000}}, never = {0};
	struct alarm_clock clock = {0};

	/* The signal comes again and again, so one of them comes while it waits. */
	CHECK_SYS(sigaction(SIGALRM, &action, NULL));
	CHECK_SYS(setitimer(ITIMER_REAL, &often, NULL));
	CHECK_EQ(loop_dispatch(loop, -1), -EINTR);
	alarm_set(loop, &clock, 't', clock_now() + 50 * NSEC_PER_MSEC);
	clock.action = NULL;
	while (loop_timer_is_set(&clock.timer)) {
		int r = loop_dispatch(loop, -1);

		CHECK(r >= 0 || r == -EINTR);
	}
	check_diary("t");
	CHECK_SYS(setitimer(ITIMER_REAL, &never, NULL));
	loop_free(loop);
}

static void
alarm_quits(struct alarm_clock *clock)
{
	loop_quit(clock->loop);
}

TEST(run_until_quit_whatever_signals_come)
{
	struct loop *loop = new_loop();
	struct sigaction action = {.sa_handler = on_alarm_signal};
	struct itimerval often = {{0, 1000}, {0, 1000}}, never = {0};
	struct alarm_clock clock = {.action = alarm_quits};

	CHECK_SYS(sigaction(SIGALRM, &action, NULL));
	CHECK_SYS(setitimer(ITIMER_REAL, &often, NULL));
	alarm_set(loop, &clock, 't', clock_now() + 50 * NSEC_PER_MSEC);
	CHECK_EQ(loop_run(loop), 0);
	check_diary("t");
	/* And it can run again. */
	alarm_set(loop, &clock, 't', 0);
	CHECK_EQ(loop_run(loop), 0);
	check_diary("t");
	CHECK_SYS(setitimer(ITIMER_REAL, &never, NULL));
	loop_free(loop);
}

static void
bell_quits(struct bell *bell)
{
	bell_quiet(bell);
	loop_quit(bell->source.loop);
}

TEST(quit_finishes_its_round)
{
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'a', 1);
	struct chore chore = {0};

	bell->action = bell_quits;
	chore_defer(loop, &chore, 'w');
	CHECK_EQ(loop_run(loop), 0);
	check_diary("aw");
	bell_free(bell);
	loop_free(loop);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

TEST(source_that_was_never_added)
{
	struct loop_source source = {0};

	loop_del(&source);
	loop_set_events(&source, EPOLLIN);
	CHECK(!source.loop);
}

TEST(source_is_called_while_it_is_ready)
{
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'a', 0);

	CHECK_EQ(loop_dispatch(loop, 0), 0);
	check_diary("");
	CHECK_SYS(eventfd_write(bell->source.fd, 1));
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	CHECK_EQ(bell->events, EPOLLIN);
	check_diary("aa");
	bell_quiet(bell);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	check_diary("");
	bell_free(bell);
	loop_free(loop);
}

TEST(set_events)
{
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'a', 1);

	loop_set_events(&bell->source, EPOLLOUT);
	CHECK_EQ(loop_dispatch(loop, 0), 1);
	CHECK_EQ(bell->events, EPOLLOUT);
	loop_set_events(&bell->source, EPOLLIN | EPOLLOUT);
	CHECK_EQ(loop_dispatch(loop, 0), 1);
	CHECK_EQ(bell->events, EPOLLIN | EPOLLOUT);
	loop_set_events(&bell->source, 0);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_set_events(&bell->source, 0);
	loop_set_events(&bell->source, EPOLLIN);
	loop_set_events(&bell->source, EPOLLIN);
	CHECK_EQ(loop_dispatch(loop, 0), 1);
	CHECK_EQ(bell->events, EPOLLIN);
	bell_free(bell);
	loop_free(loop);
}

TEST(add_refuses_files_and_closed_descriptors)
{
	struct loop *loop = new_loop();
	struct loop_source source = {0};
	int file = CHECK_SYS(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));

	CHECK_EQ(loop_add(loop, &source, file, EPOLLIN, bell_rang), -EPERM);
	CHECK(!source.loop);
	close(file);
	CHECK_EQ(loop_add(loop, &source, file, EPOLLIN, bell_rang), -EBADF);
	CHECK(!source.loop);
	loop_del(&source);
	loop_free(loop);
}

static void
bell_frees_itself(struct bell *bell)
{
	bell_free(bell);
}

TEST(callback_frees_its_own_source)
{
	struct loop *loop = new_loop();

	bell_new(loop, 'a', 1)->action = bell_frees_itself;
	bell_new(loop, 'b', 1)->action = bell_frees_itself;
	bell_new(loop, 'c', 1)->action = bell_frees_itself;
	CHECK_EQ(loop_dispatch(loop, -1), 3);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	check_diary_in_any_order("abc");
	loop_free(loop);
}

/* ->data is a NULL-terminated array of bells, this one among them: the first called frees all. */
static void
bell_frees_all(struct bell *bell)
{
	struct bell **all = bell->data;

	for (int i = 0; all[i]; i++)
		bell_free(all[i]);
}

TEST(callback_frees_other_sources_of_its_round)
{
	struct loop *loop = new_loop();
	struct bell *bells[4] = {
		bell_new(loop, 'x', 1), bell_new(loop, 'x', 1), bell_new(loop, 'x', 1)};

	for (int i = 0; i < 3; i++) {
		bells[i]->action = bell_frees_all;
		bells[i]->data = bells;
	}
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("x");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

/* ->data is the other bell. It is removed and added again, watching the same descriptor. */
static void
bell_readds_other(struct bell *bell)
{
	struct bell *other = bell->data;
	struct loop *loop = bell->source.loop;
	int fd = other->source.fd;

	bell->action = NULL;
	other->action = NULL;
	loop_del(&other->source);
	CHECK_EQ(loop_add(loop, &other->source, fd, EPOLLIN, bell_rang), 0);
}

TEST(source_added_again_is_called_from_the_next_round_on)
{
	struct loop *loop = new_loop();
	struct bell *one = bell_new(loop, 'x', 1), *two = bell_new(loop, 'x', 1);

	one->action = two->action = bell_readds_other;
	one->data = two;
	two->data = one;
	/* Only the one that came first in this round ... */
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("x");
	/* ... both in the next. */
	CHECK_EQ(loop_dispatch(loop, -1), 2);
	check_diary("xx");
	bell_free(one);
	bell_free(two);
	loop_free(loop);
}

/* A source that is replaced by a fresh one with the same descriptor number. */
static void
bell_replaces_other(struct bell *bell)
{
	struct bell **other = bell->data;
	struct loop *loop = bell->source.loop;
	int fd = (*other)->source.fd;

	bell->action = NULL;
	bell_free(*other);
	*other = bell_new(loop, 'n', 0);
	CHECK_EQ((*other)->source.fd, fd);
}

TEST(event_of_a_closed_descriptor_does_not_reach_its_successor)
{
	struct loop *loop = new_loop();
	struct bell *bells[2] = {bell_new(loop, 'x', 1), bell_new(loop, 'x', 1)};

	for (int i = 0; i < 2; i++) {
		bells[i]->action = bell_replaces_other;
		bells[i]->data = &bells[!i];
	}
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("x");
	CHECK_EQ(loop_dispatch(loop, 0), 1);
	check_diary("x");
	bell_free(bells[0]);
	bell_free(bells[1]);
	loop_free(loop);
}

TEST(deleted_source_is_quiet_although_its_descriptor_lives_on)
{
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'a', 1);
	int duplicate = CHECK_SYS(dup(bell->source.fd));

	loop_del(&bell->source);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_del(&bell->source);
	bell_free(bell);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	close(duplicate);
	loop_free(loop);
}

TEST(more_sources_than_one_batch)
{
	enum { N = 900 };
	static struct bell *bells[N];
	struct loop *loop = new_loop();
	int called = 0, r;

	for (int i = 0; i < N; i++) {
		bells[i] = bell_new(loop, 'x', 1);
		bells[i]->action = bell_frees_itself;
	}
	while ((r = loop_dispatch(loop, 0)) > 0) {
		called += r;
		diary[0] = 0;
	}
	CHECK_EQ(r, 0);
	CHECK_EQ(called, N);
	loop_free(loop);
}

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
	struct loop *loop = new_loop();
	struct alarm_clock clock = {0};

	alarm_set(loop, &clock, 't', clock_now() + 30 * NSEC_PER_MSEC);
	CHECK(loop_timer_is_set(&clock.timer));
	/* The callback checks that it is not early. */
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("t");
	CHECK(!loop_timer_is_set(&clock.timer));
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_timer_cancel(&clock.timer);
	loop_free(loop);
}

TEST(timer_in_the_past_fires_in_the_next_round)
{
	struct loop *loop = new_loop();
	struct alarm_clock clock = {0};

	alarm_set(loop, &clock, 'a', 0);
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	alarm_set(loop, &clock, 'b', 1);
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	alarm_set(loop, &clock, 'c', clock_now());
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("abc");
	loop_free(loop);
}

TEST(timers_come_in_the_order_of_their_deadlines)
{
	struct loop *loop = new_loop();
	struct alarm_clock clocks[5] = {0};

	/* All due at once; equal deadlines in the order of setting. */
	alarm_set(loop, &clocks[0], 'd', 40);
	alarm_set(loop, &clocks[1], 'a', 10);
	alarm_set(loop, &clocks[2], 'c', 30);
	alarm_set(loop, &clocks[3], 'b', 10);
	alarm_set(loop, &clocks[4], 'e', 50);
	CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("abcde");
	loop_free(loop);
}

TEST(distinct_deadlines_wake_one_by_one)
{
	struct loop *loop = new_loop();
	struct alarm_clock clocks[3] = {0};
	uint64_t now = clock_now();

	alarm_set(loop, &clocks[0], 'c', now + 60 * NSEC_PER_MSEC);
	alarm_set(loop, &clocks[1], 'a', now + 20 * NSEC_PER_MSEC);
	alarm_set(loop, &clocks[2], 'b', now + 40 * NSEC_PER_MSEC);
	while (loop_timer_is_set(&clocks[0].timer))
		CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("abc");
	loop_free(loop);
}

TEST(setting_again_moves_a_timer)
{
	struct loop *loop = new_loop();
	struct alarm_clock clock = {0}, other = {0};

	/* Away from now ... */
	alarm_set(loop, &clock, 'a', 0);
	alarm_set(loop, &clock, 'a', clock_now() + 3600 * NSEC_PER_SEC);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	/* ... before another one ... */
	alarm_set(loop, &other, 'b', 20);
	alarm_set(loop, &clock, 'a', 10);
	CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("ab");
	/* ... and behind it; it comes once. */
	alarm_set(loop, &clock, 'a', 10);
	alarm_set(loop, &other, 'b', 20);
	alarm_set(loop, &clock, 'a', 30);
	CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("ba");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

TEST(cancelled_timer_does_not_come)
{
	struct loop *loop = new_loop();
	struct alarm_clock clock = {0}, other = {0};
	struct pollfd poll_fd = {.fd = loop_fd(loop), .events = POLLIN};

	alarm_set(loop, &clock, 'a', 0);
	loop_timer_cancel(&clock.timer);
	CHECK(!loop_timer_is_set(&clock.timer));
	/* Nor does it wake anybody. */
	CHECK_EQ(CHECK_SYS(poll(&poll_fd, 1, 0)), 0);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_timer_cancel(&clock.timer);
	/* Cancelling the soonest leaves the later ones. */
	alarm_set(loop, &clock, 'a', 0);
	alarm_set(loop, &other, 'b', clock_now() + 20 * NSEC_PER_MSEC);
	loop_timer_cancel(&clock.timer);
	CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("b");
	loop_free(loop);
}

static void
alarm_sets_itself(struct alarm_clock *clock)
{
	alarm_set(clock->loop, clock, clock->letter, 0);
}

TEST(timer_that_sets_itself_waits_for_the_next_round)
{
	struct loop *loop = new_loop();
	struct alarm_clock clock = {.action = alarm_sets_itself};

	alarm_set(loop, &clock, 't', 0);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(loop_dispatch(loop, -1), 1);
		check_diary("t");
	}
	loop_timer_cancel(&clock.timer);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

static void
alarm_cancels_other(struct alarm_clock *clock)
{
	struct alarm_clock *other = clock->data;

	loop_timer_cancel(&other->timer);
}

TEST(timer_cancels_another_that_is_due_in_the_same_round)
{
	struct loop *loop = new_loop();
	struct alarm_clock first = {.action = alarm_cancels_other}, second = {0}, third = {0};

	first.data = &second;
	alarm_set(loop, &first, 'a', 10);
	alarm_set(loop, &second, 'b', 20);
	alarm_set(loop, &third, 'c', 30);
	CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("ac");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

static void
alarm_delays_other(struct alarm_clock *clock)
{
	struct alarm_clock *other = clock->data;

	alarm_set(clock->loop, other, other->letter, clock_now() + 3600 * NSEC_PER_SEC);
}

TEST(timer_delays_another_that_is_due_in_the_same_round)
{
	struct loop *loop = new_loop();
	struct alarm_clock first = {.action = alarm_delays_other}, second = {0};

	first.data = &second;
	alarm_set(loop, &first, 'a', 10);
	alarm_set(loop, &second, 'b', 20);
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("a");
	CHECK(loop_timer_is_set(&second.timer));
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_timer_cancel(&second.timer);
	loop_free(loop);
}

static void
alarm_frees_itself(struct alarm_clock *clock)
{
	free(clock);
}

TEST(timer_frees_itself)
{
	struct loop *loop = new_loop();

	for (int i = 0; i < 3; i++) {
		struct alarm_clock *clock = calloc(1, sizeof(*clock));

		CHECK(clock);
		clock->action = alarm_frees_itself;
		alarm_set(loop, clock, (char)('a' + i), (uint64_t)i);
	}
	CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("abc");
	loop_free(loop);
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
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'x', 1);
	struct alarm_clock clock = {.action = alarm_frees_bell};

	bell->action = bell_cancels_alarm;
	bell->data = &clock;
	clock.data = bell;
	alarm_set(loop, &clock, 'x', 0);
	CHECK(loop_dispatch(loop, -1) > 0);
	check_diary("x");
	drain(loop);
	check_diary("");
	if (bell_came_first)
		bell_free(bell);
	loop_free(loop);
}

static void
bell_sets_later_alarm(struct bell *bell)
{
	struct alarm_clock *clock = bell->data;

	bell_quiet(bell);
	alarm_set(bell->source.loop, clock, 'l', clock_now() + 3600 * NSEC_PER_SEC);
}

static void
bell_sets_earlier_alarm(struct bell *bell)
{
	struct alarm_clock *clock = bell->data;

	bell_quiet(bell);
	alarm_set(bell->source.loop, clock, 'e', 0);
}

TEST(due_timer_is_not_lost_when_others_are_set_in_its_round)
{
	struct loop *loop = new_loop();
	struct bell *early = bell_new(loop, '1', 1), *late = bell_new(loop, '2', 1);
	struct alarm_clock due = {0}, earlier = {0}, later = {0};

	early->action = bell_sets_earlier_alarm;
	early->data = &earlier;
	late->action = bell_sets_later_alarm;
	late->data = &later;
	alarm_set(loop, &due, 'd', 50);
	drain(loop);
	check_diary_in_any_order("12de");
	CHECK(loop_timer_is_set(&later.timer));
	loop_timer_cancel(&later.timer);
	bell_free(early);
	bell_free(late);
	loop_free(loop);
}

TEST(dispatch_counts_every_callback)
{
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'a', 1);
	struct alarm_clock clocks[3] = {0};
	struct chore chore = {0};

	for (int i = 0; i < 3; i++)
		alarm_set(loop, &clocks[i], 't', 0);
	chore_defer(loop, &chore, 'w');
	CHECK_EQ(loop_dispatch(loop, -1), 5);
	check_diary_in_any_order("atttw");
	bell_free(bell);
	loop_free(loop);
}

TEST(dispatch_counts_no_callback_that_did_not_run)
{
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'x', 1);
	struct alarm_clock clock = {.action = alarm_frees_bell, .data = bell};

	/* Bell and clock remove each other: one callback runs, whichever comes first. */
	bell->action = bell_cancels_alarm;
	bell->data = &clock;
	alarm_set(loop, &clock, 'x', 0);
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("x");
	drain(loop);
	if (bell_came_first)
		bell_free(bell);
	loop_free(loop);
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
	struct loop *loop = new_loop();
	struct chore chore = {0};

	chore_defer(loop, &chore, 'a');
	chore_defer(loop, &chore, 'a');
	chore_defer(loop, &chore, 'a');
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("a");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	chore_defer(loop, &chore, 'a');
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("a");
	loop_free(loop);
}

TEST(work_runs_in_the_order_of_deferring)
{
	struct loop *loop = new_loop();
	struct chore chores[3] = {0};

	chore_defer(loop, &chores[2], 'c');
	chore_defer(loop, &chores[0], 'a');
	chore_defer(loop, &chores[1], 'b');
	chore_defer(loop, &chores[2], 'c'); /* keeps its place */
	CHECK_EQ(loop_dispatch(loop, -1), 3);
	check_diary("cab");
	loop_free(loop);
}

static void
bell_defers(struct bell *bell)
{
	bell_quiet(bell);
	chore_defer(bell->source.loop, bell->data, 'w');
}

static void
alarm_defers(struct alarm_clock *clock)
{
	chore_defer(clock->loop, clock->data, 'v');
}

TEST(work_comes_after_descriptors_and_timers_of_the_round)
{
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'a', 1);
	struct alarm_clock clock = {.action = alarm_defers};
	struct chore before = {0}, by_bell = {0}, by_clock = {0};

	bell->action = bell_defers;
	bell->data = &by_bell;
	clock.data = &by_clock;
	alarm_set(loop, &clock, 'b', 0);
	chore_defer(loop, &before, 'u');
	CHECK_EQ(loop_dispatch(loop, -1), 5);
	CHECK_EQ(strlen(diary), 5);
	/* Descriptor and timer in any order, then what was deferred before, then what they
	 * deferred. */
	CHECK(strncmp(diary, "abuwv", 5) == 0 || strncmp(diary, "bauvw", 5) == 0);
	bell_free(bell);
	loop_free(loop);
}

static void
chore_defers_itself(struct chore *chore)
{
	chore_defer(chore->loop, chore, chore->letter);
}

TEST(work_deferred_by_work_waits_for_the_next_round)
{
	struct loop *loop = new_loop();
	struct chore chore = {.action = chore_defers_itself};

	chore_defer(loop, &chore, 'a');
	for (int i = 0; i < 5; i++) {
		/* Which does not sleep. */
		CHECK_EQ(loop_dispatch(loop, -1), 1);
		check_diary("a");
	}
	loop_work_cancel(&chore.work);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

static void
chore_cancels_other(struct chore *chore)
{
	struct chore *other = chore->data;

	loop_work_cancel(&other->work);
}

TEST(work_cancels_other_work_of_the_round)
{
	struct loop *loop = new_loop();
	struct chore first = {.action = chore_cancels_other}, second = {0}, third = {0};

	first.data = &second;
	chore_defer(loop, &first, 'a');
	chore_defer(loop, &second, 'b');
	chore_defer(loop, &third, 'c');
	CHECK_EQ(loop_dispatch(loop, -1), 2);
	check_diary("ac");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_work_cancel(&second.work);
	loop_free(loop);
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
	struct loop *loop = new_loop();
	struct chore *first = calloc(1, sizeof(*first)), *second = calloc(1, sizeof(*second));

	CHECK(first && second);
	first->action = chore_frees_itself_and_other;
	first->data = second;
	chore_defer(loop, first, 'a');
	chore_defer(loop, second, 'b');
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	check_diary("a");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

TEST(cancelled_work_can_be_deferred_again_at_the_end)
{
	struct loop *loop = new_loop();
	struct chore first = {0}, second = {0};

	chore_defer(loop, &first, 'a');
	chore_defer(loop, &second, 'b');
	loop_work_cancel(&first.work);
	chore_defer(loop, &first, 'a');
	CHECK_EQ(loop_dispatch(loop, -1), 2);
	check_diary("ba");
	loop_free(loop);
}

static void
chore_frees_bell(struct chore *chore)
{
	bell_free(chore->data);
}

TEST(work_removes_a_source)
{
	struct loop *loop = new_loop();
	struct bell *bell = bell_new(loop, 'a', 1);
	struct chore chore = {.action = chore_frees_bell, .data = bell};

	chore_defer(loop, &chore, 'w');
	CHECK_EQ(loop_dispatch(loop, -1), 2);
	check_diary("aw");
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_free(loop);
}

/* ---- nesting -------------------------------------------------------------------------------- */

static void
inner_ready(struct loop_source *source, uint32_t events)
{
	struct bell *outer = container_of(source, struct bell, source);

	CHECK_EQ(events, EPOLLIN);
	note('(');
	CHECK(loop_dispatch(outer->data, 0) >= 0);
	note(')');
}

TEST(loop_in_a_loop)
{
	struct loop *outer = new_loop(), *inner = new_loop();
	struct bell *bell = bell_new(inner, 'a', 0);
	struct bell nested = {.data = inner};
	struct alarm_clock clock = {0};

	CHECK_EQ(loop_add(outer, &nested.source, loop_fd(inner), EPOLLIN, inner_ready), 0);
	CHECK_EQ(loop_dispatch(outer, 0), 0);
	CHECK_SYS(eventfd_write(bell->source.fd, 1));
	CHECK_EQ(loop_dispatch(outer, -1), 1);
	check_diary("(a)");
	bell_quiet(bell);
	drain(outer);
	diary[0] = 0;
	/* A timer that is due at once shows outside, which deferred work would not. */
	alarm_set(inner, &clock, 't', 0);
	CHECK_EQ(loop_dispatch(outer, -1), 1);
	check_diary("(t)");
	CHECK_EQ(loop_dispatch(outer, 0), 0);
	loop_del(&nested.source);
	bell_free(bell);
	loop_free(inner);
	loop_free(outer);
}

static void
bell_removes_its_outer(struct bell *bell)
{
	struct bell *outer = bell->data;

	bell_quiet(bell);
	loop_del(&outer->source);
}

TEST(inner_callback_removes_the_outer_source)
{
	struct loop *outer = new_loop(), *inner = new_loop();
	struct bell *bell = bell_new(inner, 'a', 1);
	struct bell nested = {.data = inner};

	bell->action = bell_removes_its_outer;
	bell->data = &nested;
	CHECK_EQ(loop_add(outer, &nested.source, loop_fd(inner), EPOLLIN, inner_ready), 0);
	CHECK_EQ(loop_dispatch(outer, -1), 1);
	check_diary("(a)");
	CHECK_EQ(loop_dispatch(outer, 0), 0);
	bell_free(bell);
	loop_free(inner);
	loop_free(outer);
}

/* ---- everything at once --------------------------------------------------------------------- */

/*
 * Bells, timers and chores that add, remove, set and cancel each other at random. What is removed
 * must not be called, which its owner checks; and nothing may be used after it was freed, which a
 * sanitizer checks.
 */
#define CROWD 40

static struct crowd {
	struct loop *loop;
	unsigned seed;
	unsigned calls;
	struct bell *bells[CROWD];
	bool bell_wanted[CROWD];
	struct alarm_clock *clocks[CROWD];
	struct chore *chores[CROWD];
} crowd;

static void crowd_act(void);

static void
crowd_bell(struct bell *bell)
{
	int i = bell->letter;

	CHECK(crowd.bells[i] == bell);
	diary[0] = 0;
	crowd.calls++;
	crowd_act();
}

static void
crowd_clock(struct alarm_clock *clock)
{
	int i = clock->letter;

	CHECK(crowd.clocks[i] == clock);
	diary[0] = 0;
	crowd.calls++;
	crowd_act();
}

static void
crowd_chore(struct chore *chore)
{
	int i = chore->letter;

	CHECK(crowd.chores[i] == chore);
	diary[0] = 0;
	crowd.calls++;
	crowd_act();
}

static void
crowd_toggle_bell(int i)
{
	if (crowd.bells[i]) {
		bell_free(crowd.bells[i]);
		crowd.bells[i] = NULL;
	} else {
		crowd.bells[i] = bell_new(crowd.loop, (char)i, (unsigned)rand_r(&crowd.seed) % 2);
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
		alarm_set(crowd.loop, crowd.clocks[i], (char)i,
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
		chore_defer(crowd.loop, crowd.chores[i], (char)i);
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
				alarm_set(crowd.loop, crowd.clocks[i], (char)i,
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
	crowd.loop = new_loop();
	while (crowd.calls < 50000) {
		CHECK(loop_dispatch(crowd.loop, 0) >= 0);
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
	CHECK_EQ(loop_dispatch(crowd.loop, 0), 0);
	loop_free(crowd.loop);
}
