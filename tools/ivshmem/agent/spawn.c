/* SPDX-License-Identifier: BSD-2-Clause */
#include "spawn.h"
#include "records.h"

#include <base/error.h>
#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

#define PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#define USUAL_LIMIT 1024

/* What a child says if it cannot become the command. */
struct report {
	int status;
	char sentence[400];
};

/* ---- in the child ------------------------------------------------------------------------------ */

struct child {
	const struct spawn *plan;
	int fds[3]; /* its stdin, stdout and stderr */
	int report;
};

_Noreturn static void __attribute__((format(printf, 3, 4)))
give_up(const struct child *child, int status, const char *format, ...)
{
	struct report report = {.status = status};
	va_list args;
	ssize_t n;

	va_start(args, format);
	vsnprintf(report.sentence, sizeof(report.sentence), format, args);
	va_end(args);
	n = write(child->report, &report, sizeof(report));
	(void)n;
	_exit(status);
}

/* What we changed for ourselves. Some programs try all descriptors that there may be. */
static void
reset_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > USUAL_LIMIT) {
		limit.rlim_cur = USUAL_LIMIT;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void
reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
take_terminal(const struct child *child)
{
	if (!child->plan->terminal)
		return;
	if (fchown(child->fds[0], child->plan->login->uid, (gid_t)-1) < 0 && errno != EPERM &&
		errno != EROFS)
		give_up(child, CALL_FAILED, "cannot give the terminal away: %s", strerror(errno));
	if (ioctl(child->fds[0], TIOCSCTTY, 0) < 0)
		give_up(child, CALL_FAILED, "cannot take the terminal: %s", strerror(errno));
}

/* Descriptors 0 to 2 are open in every program of ours, so none of `fds` is one of these. */
static void
take_descriptors(const struct child *child)
{
	for (int i = 0; i < 3; i++)
		if (dup2(child->fds[i], i) < 0)
			give_up(child, CALL_FAILED, "cannot take a descriptor: %s",
				strerror(errno));
}

static void
become_user(const struct child *child)
{
	const struct login *login = child->plan->login;
	bool changes = login->uid != geteuid();
	int r = changes ? login_become(login) : 0;

	if (r < 0)
		give_up(child, CALL_FAILED, "cannot become the user %s: %s", login->name,
			strerror(-r));
	if (changes)
		clearenv();
	setenv("PATH", PATH, 0);
	setenv("HOME", login->home, 0);
	setenv("USER", login->name, 0);
	setenv("LOGNAME", login->name, 0);
	setenv("SHELL", login->shell, 0);
	for (char **variable = child->plan->environment; *variable; variable++)
		putenv(*variable);
}

static void
change_directory(const struct child *child)
{
	const char *directory = child->plan->directory;

	if (chdir(child->plan->login->home) < 0 && chdir("/") < 0)
		give_up(child, CALL_CANNOT_RUN, "cannot change to the directory '/': %s",
			strerror(errno));
	if (directory && chdir(directory) < 0)
		give_up(child, CALL_CANNOT_RUN, "cannot change to the directory '%.200s': %s",
			directory, strerror(errno));
}

/* Whatever else we were started with is not the command's. */
static void
close_others(void)
{
#ifdef SYS_close_range
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
#endif
}

/* A login shell is told by the '-'. */
static void
run_shell(const char *shell)
{
	const char *base = strrchr(shell, '/');
	char name[256];

	snprintf(name, sizeof(name), "-%.200s", base ? base + 1 : shell);
	execl(shell, name, (char *)NULL);
}

_Noreturn static void
run_program(const struct child *child)
{
	const char *program = child->plan->arguments[0];

	if (program)
		execvp(program, child->plan->arguments);
	else
		run_shell(program = child->plan->login->shell);
	if (errno == ENOENT)
		give_up(child, CALL_NOT_FOUND, "there is no program '%.200s' here", program);
	give_up(child, CALL_CANNOT_RUN, "cannot run '%.200s': %s", program, strerror(errno));
}

_Noreturn static void
become(const struct child *child, pid_t agent)
{
	reset_signals();
	reset_limits();
	setsid();
	take_terminal(child);
	take_descriptors(child);
	become_user(child);
	change_directory(child);
	close_others();
	/* If the agent is killed, this is all that tells a command that does not read or write. */
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	if (getppid() != agent)
		_exit(CALL_FAILED);
	run_program(child);
}

/* ---- descriptors ------------------------------------------------------------------------------- */

/* A pipe whose end `ours` does not block. */
static int
make_pipe(int ret_ends[2], int ours)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	if (fcntl(ends[ours], F_SETFL, O_NONBLOCK | (ours ? O_WRONLY : O_RDONLY)) < 0) {
		int error = errno;

		close(ends[0]);
		close(ends[1]);
		return -error;
	}
	ret_ends[0] = ends[0];
	ret_ends[1] = ends[1];
	return 0;
}

void
spawn_resize(int terminal, uint16_t rows, uint16_t columns)
{
	const struct winsize size = {.ws_row = rows, .ws_col = columns};

	ioctl(terminal, TIOCSWINSZ, &size);
}

/* Our side and that of the command. */
static int
make_terminal(const struct spawn *plan, int *ret_ours, int *ret_theirs)
{
	_fd_cleanup_ int ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	char path[64];
	int theirs;

	if (ours < 0)
		return -errno;
	if (grantpt(ours) < 0 || unlockpt(ours) < 0)
		return -errno;
	if (ptsname_r(ours, path, sizeof(path)) != 0)
		return -ENOTTY;
	theirs = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (theirs < 0)
		return -errno;
	spawn_resize(ours, plan->rows, plan->columns);
	*ret_ours = fd_take(&ours);
	*ret_theirs = theirs;
	return 0;
}

/* All descriptors of a command. */
struct plumbing {
	int ours[3], theirs[3];
	int report[2];
};

static void
close_theirs(struct plumbing *plumbing)
{
	for (int i = 0; i < 3; i++)
		if (i == 0 || plumbing->theirs[i] != plumbing->theirs[0])
			fd_close(plumbing->theirs[i]);
	fd_close(plumbing->report[1]);
}

static void
close_ours(struct plumbing *plumbing)
{
	for (int i = 0; i < 3; i++)
		if (i == 0 || plumbing->ours[i] != plumbing->ours[0])
			fd_close(plumbing->ours[i]);
	fd_close(plumbing->report[0]);
}

static int
make_pipes(struct plumbing *plumbing)
{
	for (int i = 0; i < 3; i++) {
		int ours = i == 0 ? 1 : 0, ends[2] = {-1, -1};
		int r = make_pipe(ends, ours);

		if (r < 0)
			return r;
		plumbing->ours[i] = ends[ours];
		plumbing->theirs[i] = ends[!ours];
	}
	return 0;
}

static int
make_plumbing(const struct spawn *plan, struct plumbing *plumbing, struct ivshmem_error *reterr)
{
	int r = make_pipe(plumbing->report, 0);

	if (r == 0 && plan->terminal) {
		r = make_terminal(plan, &plumbing->ours[0], &plumbing->theirs[0]);
		if (r < 0)
			return error_set(reterr, r,
				"cannot make a terminal for the command: %s (is /dev/pts mounted?)",
				strerror(-r));
		plumbing->ours[1] = plumbing->ours[0];
		plumbing->theirs[1] = plumbing->theirs[2] = plumbing->theirs[0];
	} else if (r == 0) {
		r = make_pipes(plumbing);
	}
	return r < 0 ? error_set(reterr, r, "cannot make pipes for the command: %s", strerror(-r))
		     : 0;
}

/* ---- starting ---------------------------------------------------------------------------------- */

static int
start(const struct spawn *plan, const struct plumbing *plumbing, struct ivshmem_error *reterr)
{
	const struct child child = {.plan = plan,
		.fds = {plumbing->theirs[0], plumbing->theirs[1], plumbing->theirs[2]},
		.report = plumbing->report[1]};
	pid_t agent = getpid();
	pid_t pid = fork();

	if (pid == 0)
		become(&child, agent);
	return pid < 0 ? error_set(reterr, -errno, "cannot start a process: %s", strerror(errno))
		       : pid;
}

int
spawn(const struct spawn *plan, struct spawned *ret_spawned, struct ivshmem_error *reterr)
{
	struct plumbing plumbing = {{-1, -1, -1}, {-1, -1, -1}, {-1, -1}};
	int r = make_plumbing(plan, &plumbing, reterr);

	if (r == 0)
		r = start(plan, &plumbing, reterr);
	close_theirs(&plumbing);
	if (r < 0) {
		close_ours(&plumbing);
		return r;
	}
	*ret_spawned = (struct spawned){.pid = r,
		.in = plumbing.ours[0],
		.out = plumbing.ours[1],
		.err = plumbing.ours[2],
		.report = plumbing.report[0]};
	return 0;
}

int
spawn_report(int report_fd, int *ret_status, struct ivshmem_error *reterr)
{
	struct report report;
	ssize_t n = read(report_fd, &report, sizeof(report));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	/* One that is killed before it could say anything has run, for the caller. */
	if (n != sizeof(report))
		return 0;
	*ret_status = report.status;
	return error_set(reterr, -ECANCELED, "%s", report.sentence);
}
