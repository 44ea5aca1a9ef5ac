/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/signals.h>

#include <loop/loop.h>

#include <test.h>

#include <errno.h>
#include <sys/resource.h>

static unsigned n_taken;

static void
on_signal(struct loop_source *source, uint32_t events)
{
	(void)events;
	if (signals_take(source))
		n_taken++;
	CHECK(!signals_take(source));
	loop_quit(source->loop);
}

static bool
is_ignored(int number)
{
	struct sigaction action;

	CHECK_SYS(sigaction(number, NULL, &action));
	return action.sa_handler == SIG_IGN;
}

TEST(what_does_not_end_a_service_is_ignored)
{
	signals_ignore();
	CHECK(is_ignored(SIGHUP) && is_ignored(SIGPIPE) && is_ignored(SIGXFSZ));
}

TEST(what_ends_it_waits_for_the_loop)
{
	static const int numbers[] = {SIGTERM, SIGINT};
	struct loop_source source = {.fd = -1};
	struct loop *loop;

	signals_ignore();
	signals_hold();
	for (unsigned i = 0; i < 2; i++) {
		/* Before there is anybody to read it, and so before anything must be removed. */
		CHECK_SYS(raise(numbers[i]));
		CHECK_EQ(loop_new(&loop), 0);
		CHECK_EQ(signals_watch(loop, &source, on_signal), 0);
		CHECK_EQ(loop_run(loop), 0);
		CHECK_EQ(n_taken, i + 1);
		CHECK_SYS(raise(SIGHUP));
		CHECK_EQ(loop_dispatch(loop, 0), 0);
		signals_unwatch(&source);
		CHECK_EQ(source.fd, -1);
		signals_unwatch(&source);
		loop_free(loop);
	}
}

TEST(no_descriptor_for_the_signals)
{
	struct loop_source source = {.fd = -1};
	struct loop *loop;
	unsigned open_fds;

	CHECK_EQ(loop_new(&loop), 0);
	open_fds = test_open_fds();
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 4096}));
	CHECK_EQ(signals_watch(loop, &source, on_signal), -EMFILE);
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096}));
	CHECK_EQ(source.fd, -1);
	CHECK_EQ(test_open_fds(), open_fds);
	signals_unwatch(&source);
	loop_free(loop);
}
