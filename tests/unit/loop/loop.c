/* SPDX-License-Identifier: BSD-2-Clause */

/* What loop.h promises of the loop itself, of descriptors and of nesting. */

#include "loop_owners.h"

#include <base/clock.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>

/* ---- the loop itself ------------------------------------------------------------------------ */

TEST(new_and_free)
{
	CHECK(loop_fd(loop) >= 0);
	CHECK(fcntl(loop_fd(loop), F_GETFD) & FD_CLOEXEC);
	CHECK(loop_free(NULL) == NULL);
}

TEST(new_without_descriptors_left)
{
	struct loop *untouched = (struct loop *)&diary, *another = untouched;
	unsigned open_fds = test_open_fds();

	/* It takes two, and must give the first back if there is no second. */
	for (unsigned room = 0; room < 2; room++) {
		struct rlimit limit = {open_fds + room, 1024};

		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
		CHECK_EQ(loop_new(&another), -EMFILE);
		CHECK(another == untouched);
	}
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024}));
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(nothing_to_do)
{
	uint64_t before = clock_now();

	CHECK_EQ(loop_dispatch(loop, 0), 0);
	CHECK_EQ(loop_dispatch(loop, 20), 0);
	CHECK(clock_now() - before >= 19 * NSEC_PER_MSEC);
}

static void
on_alarm_signal(int number)
{
	(void)number;
}

/* The signal comes again and again, so one of them comes while it waits. */
static void
signal_often(suseconds_t us)
{
	struct sigaction action = {.sa_handler = on_alarm_signal};
	struct itimerval often = {{0, us}, {0, us}};

	CHECK_SYS(sigaction(SIGALRM, &action, NULL));
	CHECK_SYS(setitimer(ITIMER_REAL, &often, NULL));
}

TEST(signal_interrupts_dispatch_but_not_run)
{
	struct alarm_clock clock = {0};

	signal_often(1000);
	CHECK_EQ(loop_dispatch(loop, -1), -EINTR);
	alarm_set(&clock, 't', clock_now() + 50 * NSEC_PER_MSEC);
	clock.action = NULL;
	while (loop_timer_is_set(&clock.timer)) {
		int r = loop_dispatch(loop, -1);

		CHECK(r >= 0 || r == -EINTR);
	}
	check_diary("t");
	signal_often(0);
}

static void
alarm_quits(struct alarm_clock *clock)
{
	(void)clock;
	loop_quit(loop);
}

TEST(run_until_quit_whatever_signals_come)
{
	struct alarm_clock clock = {.action = alarm_quits};

	signal_often(1000);
	alarm_set(&clock, 't', clock_now() + 50 * NSEC_PER_MSEC);
	CHECK_EQ(loop_run(loop), 0);
	check_diary("t");
	/* And it can run again. */
	alarm_set(&clock, 't', 0);
	CHECK_EQ(loop_run(loop), 0);
	check_diary("t");
	signal_often(0);
}

static void
bell_quits(struct bell *bell)
{
	bell_quiet(bell);
	loop_quit(loop);
}

TEST(quit_finishes_its_round)
{
	struct bell *bell = bell_new('a', 1);
	struct chore chore = {0};

	bell->action = bell_quits;
	chore_defer(&chore, 'w');
	CHECK_EQ(loop_run(loop), 0);
	check_diary("aw");
	bell_free(bell);
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
	struct bell *bell = bell_new('a', 0);

	check_round("");
	CHECK_SYS(eventfd_write(bell->source.fd, 1));
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	CHECK_EQ(loop_dispatch(loop, -1), 1);
	CHECK_EQ(bell->events, EPOLLIN);
	check_diary("aa");
	bell_quiet(bell);
	check_round("");
	bell_free(bell);
}

static void
check_events(struct bell *bell, uint32_t set, uint32_t expected)
{
	loop_set_events(&bell->source, set);
	bell->events = 0;
	CHECK_EQ(loop_dispatch(loop, 0), expected != 0);
	CHECK_EQ(bell->events, expected);
}

TEST(set_events)
{
	struct bell *bell = bell_new('a', 1);

	check_events(bell, EPOLLOUT, EPOLLOUT);
	check_events(bell, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLOUT);
	check_events(bell, 0, 0);
	check_events(bell, 0, 0);
	check_events(bell, EPOLLIN, EPOLLIN);
	check_events(bell, EPOLLIN, EPOLLIN);
	bell_free(bell);
}

TEST(add_refuses_files_and_closed_descriptors)
{
	struct loop_source source = {0};
	int file = CHECK_SYS(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));

	CHECK_EQ(loop_add(loop, &source, file, EPOLLIN, bell_rang), -EPERM);
	CHECK(!source.loop);
	close(file);
	CHECK_EQ(loop_add(loop, &source, file, EPOLLIN, bell_rang), -EBADF);
	CHECK(!source.loop);
	loop_del(&source);
}

static void
bell_frees_itself(struct bell *bell)
{
	bell_free(bell);
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
	struct bell *bells[4] = {bell_new('x', 1), bell_new('x', 1), bell_new('x', 1)};

	for (int i = 0; i < 3; i++) {
		bells[i]->action = bell_frees_all;
		bells[i]->data = bells;
	}
	check_round("x");
}

/* ->data is the other bell. It is removed and added again, watching the same descriptor. */
static void
bell_readds_other(struct bell *bell)
{
	struct bell *other = bell->data;
	int fd = other->source.fd;

	bell->action = NULL;
	other->action = NULL;
	loop_del(&other->source);
	CHECK_EQ(loop_add(loop, &other->source, fd, EPOLLIN, bell_rang), 0);
}

TEST(source_added_again_is_called_from_the_next_round_on)
{
	struct bell *one = bell_new('x', 1), *two = bell_new('x', 1);

	one->action = two->action = bell_readds_other;
	one->data = two;
	two->data = one;
	/* Only the one that came first in this round ... */
	check_round("x");
	/* ... both in the next. */
	check_round("xx");
	bell_free(one);
	bell_free(two);
}

/* A source that is replaced by a fresh one with the same descriptor number. */
static void
bell_replaces_other(struct bell *bell)
{
	struct bell **other = bell->data;
	int fd = (*other)->source.fd;

	bell->action = NULL;
	bell_free(*other);
	*other = bell_new('n', 0);
	CHECK_EQ((*other)->source.fd, fd);
}

TEST(event_of_a_closed_descriptor_does_not_reach_its_successor)
{
	struct bell *bells[2] = {bell_new('x', 1), bell_new('x', 1)};

	for (int i = 0; i < 2; i++) {
		bells[i]->action = bell_replaces_other;
		bells[i]->data = &bells[!i];
	}
	check_round("x");
	check_round("x");
	bell_free(bells[0]);
	bell_free(bells[1]);
}

TEST(deleted_source_is_quiet_although_its_descriptor_lives_on)
{
	struct bell *bell = bell_new('a', 1);
	_test_close_ int duplicate = CHECK_SYS(dup(bell->source.fd));

	loop_del(&bell->source);
	CHECK_EQ(loop_dispatch(loop, 0), 0);
	loop_del(&bell->source);
	bell_free(bell);
}

/* More sources than one batch. */
TEST(callbacks_free_their_own_sources)
{
	enum { N = 900 };
	static struct bell *bells[N];
	int called = 0, r;

	for (int i = 0; i < N; i++) {
		bells[i] = bell_new('x', 1);
		bells[i]->action = bell_frees_itself;
	}
	while ((r = loop_dispatch(loop, 0)) > 0) {
		called += r;
		diary[0] = 0;
	}
	CHECK_EQ(r, 0);
	CHECK_EQ(called, N);
}

/* ---- nesting -------------------------------------------------------------------------------- */

static struct loop *outer;
static struct loop_source nested;

static void
inner_ready(struct loop_source *source, uint32_t events)
{
	CHECK(source == &nested);
	CHECK_EQ(events, EPOLLIN);
	note('(');
	CHECK(loop_dispatch(loop, 0) >= 0);
	note(')');
}

/* `loop` becomes a source of the outer one. */
static void
nest(void)
{
	CHECK_EQ(loop_new(&outer), 0);
	CHECK_EQ(loop_add(outer, &nested, loop_fd(loop), EPOLLIN, inner_ready), 0);
}

TEST(loop_in_a_loop)
{
	struct bell *bell = bell_new('a', 0);
	struct alarm_clock clock = {0};

	nest();
	CHECK_EQ(loop_dispatch(outer, 0), 0);
	CHECK_SYS(eventfd_write(bell->source.fd, 1));
	CHECK_EQ(loop_dispatch(outer, -1), 1);
	check_diary("(a)");
	bell_quiet(bell);
	while (loop_dispatch(outer, 0) > 0)
		;
	diary[0] = 0;
	/* A timer that is due at once shows outside, which deferred work would not. */
	alarm_set(&clock, 't', 0);
	CHECK_EQ(loop_dispatch(outer, -1), 1);
	check_diary("(t)");
	CHECK_EQ(loop_dispatch(outer, 0), 0);
	loop_del(&nested);
	bell_free(bell);
	loop_free(outer);
}

static void
bell_removes_its_outer(struct bell *bell)
{
	bell_quiet(bell);
	loop_del(&nested);
}

TEST(inner_callback_removes_the_outer_source)
{
	struct bell *bell = bell_new('a', 1);

	bell->action = bell_removes_its_outer;
	nest();
	CHECK_EQ(loop_dispatch(outer, -1), 1);
	check_diary("(a)");
	CHECK_EQ(loop_dispatch(outer, 0), 0);
	bell_free(bell);
	loop_free(outer);
}
