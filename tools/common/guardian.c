/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/guardian.h>

#include <base/clock.h>
#include <base/fd.h>

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* So many workers in a row may be killed before they serve. */
#define FAILURES_MAX 3

/* How long to wait before trying again to make a process. */
#define PAUSE (100 * NSEC_PER_MSEC)

struct guardian {
	const struct worker *type;
	sigset_t before; /* what was blocked */
	struct sigaction hangup, child;
	pid_t worker;
	int asked; /* the signal that asked us to end; 0: none */
	unsigned failures;
};

/* ---- signals ----------------------------------------------------------------------------------- */

static void
guardian_signals(sigset_t *ret_signals)
{
	sigemptyset(ret_signals);
	sigaddset(ret_signals, SIGTERM);
	sigaddset(ret_signals, SIGINT);
	sigaddset(ret_signals, SIGHUP);
	sigaddset(ret_signals, SIGCHLD);
}

/* They wait until the guardian asks for them. */
static void
hold_signals(struct guardian *guardian)
{
	const struct sigaction usual = {.sa_handler = SIG_DFL};
	sigset_t signals;

	guardian_signals(&signals);
	sigprocmask(SIG_BLOCK, &signals, &guardian->before);
	/* One that is ignored would not wait. */
	sigaction(SIGHUP, &usual, &guardian->hangup);
	sigaction(SIGCHLD, &usual, &guardian->child);
}

static void
restore_signals(const struct guardian *guardian)
{
	sigaction(SIGHUP, &guardian->hangup, NULL);
	sigaction(SIGCHLD, &guardian->child, NULL);
	sigprocmask(SIG_SETMASK, &guardian->before, NULL);
}

/* ---- the worker -------------------------------------------------------------------------------- */

/* glibc's fork() would copy the table of descriptors. */
static pid_t
clone_worker(void)
{
	return (pid_t)syscall(SYS_clone, (long)(CLONE_FILES | SIGCHLD), NULL, NULL, NULL, 0L);
}

/* Until the worker has ended. Returns its status, as of waitpid(). */
static int
wait_for_worker(struct guardian *guardian)
{
	sigset_t signals;
	int status;

	guardian_signals(&signals);
	for (;;) {
		int number = sigwaitinfo(&signals, NULL);

		if (number == SIGCHLD &&
			waitpid(guardian->worker, &status, WNOHANG) == guardian->worker)
			return status;
		if (number < 0 || number == SIGCHLD)
			continue;
		if (number != SIGHUP)
			guardian->asked = number;
		kill(guardian->worker, number);
	}
}

/* Is the worker to be replaced? */
static bool
is_recoverable(struct guardian *guardian, int status)
{
	const struct worker *worker = guardian->type;

	if (!WIFSIGNALED(status) || !worker->can_go_on(worker->data))
		return false;
	guardian->failures = worker->has_served(worker->data) ? 0 : guardian->failures + 1;
	return guardian->failures < FAILURES_MAX;
}

/* As the worker did. */
static int
end_like(const struct guardian *guardian, int status)
{
	const struct rlimit none = {0, 0};
	sigset_t signals;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	/* One core file is enough. */
	setrlimit(RLIMIT_CORE, &none);
	restore_signals(guardian);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&signals);
	sigaddset(&signals, WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
	kill(getpid(), WTERMSIG(status));
	return EXIT_FAILURE;
}

int
guardian_run(const struct worker *worker)
{
	const struct timespec pause = {.tv_nsec = (long)PAUSE};
	struct guardian guardian = {.type = worker};
	int killed_by = 0, status;

	hold_signals(&guardian);
	for (;;) {
		pid_t self = getpid();

		guardian.worker = clone_worker();
		if (guardian.worker == 0) {
			restore_signals(&guardian);
			status = worker->run(worker->data, self, killed_by);
			if (status != GUARDIAN_GONE)
				return status;
			hold_signals(&guardian);
			killed_by = GUARDIAN_GONE;
			guardian.asked = 0;
			guardian.failures = 0;
			continue;
		}
		if (guardian.worker < 0) {
			if (killed_by == 0)
				return EXIT_FAILURE;
			nanosleep(&pause, NULL); /* clients wait */
			continue;
		}
		if (guardian.asked)
			kill(guardian.worker, guardian.asked);
		status = wait_for_worker(&guardian);
		if (!is_recoverable(&guardian, status))
			break;
		killed_by = WTERMSIG(status);
	}
	if (guardian.failures == FAILURES_MAX)
		worker->give_up(worker->data, WTERMSIG(status));
	return end_like(&guardian, status);
}

int
guardian_watch(struct loop *loop, struct loop_source *source, pid_t guardian, loop_source_fn fn)
{
	_fd_cleanup_ int fd = (int)syscall(SYS_pidfd_open, guardian, 0);
	int r;

	if (fd < 0)
		return -errno;
	/* Perhaps another process has its number by now. */
	if (getppid() != guardian)
		return -ESRCH;
	r = loop_add(loop, source, fd, EPOLLIN, fn);
	if (r == 0)
		fd_take(&fd);
	return r;
}

void
guardian_replace(void)
{
	pid_t self = getpid(), other = clone_worker();
	struct pollfd end = {.events = POLLIN};

	if (other > 0)
		_exit(EXIT_SUCCESS);
	/* Without another process, this one goes on without a guardian. */
	if (other < 0)
		return;
	end.fd = (int)syscall(SYS_pidfd_open, self, 0);
	while (getppid() == self && poll(&end, 1, end.fd < 0 ? 10 : -1) <= 0)
		;
	fd_close(end.fd);
}
