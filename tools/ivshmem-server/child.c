/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * A child is a server and those that follow it, in one of these states:
 *
 *	OVER		there is none, and none will start
 *	STARTING	the server has not said READY=1 yet
 *	SERVING		it has
 *	WAITING		there is none; a timer starts the next one
 *
 * The only thing that the parent holds is what the server has given it to keep: one descriptor, the
 * group (handover.h), from the end of one server until the next one has taken it. The parent knows
 * nothing of what is in it.
 *
 *	restart		SIGTERM to the server, which hands over the group and ends; in STARTING,
 *			that happens when it serves; in WAITING, the next server starts at once
 *	end		SIGINT to the server, which lets its clients go; OVER after it
 *
 *	the server has ended, and
 *	  the parent holds a group	the next one starts: at once if this one had served; otherwise
 *					with the arguments of the last one that served, or after a
 *					pause if those are the same, and again and again, because
 *					clients depend on it
 *	  it was asked to		OVER
 *	  it never served		OVER: the options are wrong, and the log says so
 *	  it crashed			the next one starts after a pause, with a new group; after
 *					FAILURES_MAX in a row it is OVER
 *
 * Each pause is twice as long as the one before, up to PAUSE_MAX. A server that has served for
 * STEADY ends the row.
 *
 * The server is two processes (guardian.h), which have a process group of their own. The first is our
 * child. If that one is killed, the other one becomes our child, because we are the reaper of those
 * without a parent, and says so (MAINPID).
 */
#include <child.h>

#include <base/clock.h>
#include <base/fd.h>
#include <base/log.h>
#include <common/supervisor.h>
#include <parent.h>
#include <sockets.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_FD     3
#define PAUSE_MIN    (100 * NSEC_PER_MSEC)
#define PAUSE_MAX    (6400 * NSEC_PER_MSEC)
#define STEADY       (60 * NSEC_PER_SEC)
#define FAILURES_MAX 10

char **
child_free_argv(char **argv)
{
	for (char **arg = argv; arg && *arg; arg++)
		free(*arg);
	free(argv);
	return NULL;
}

static void
over(struct child *child, int status)
{
	loop_timer_cancel(&child->pause);
	list_remove(&child->server.link);
	child->server.pid = 0;
	child->state = CHILD_OVER;
	child->group = fd_close(child->group);
	child->over(child, status);
}

/* ---- starting a server ----------------------------------------------------------------------- */

/* In the new process. */
static void
become_server(const struct child *child, pid_t parent_pid)
{
	char text[16];
	sigset_t none;

	setpgid(0, 0);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(text, sizeof(text), "%d", (int)parent_pid);
	setenv(PARENT_NAME, text, 1);
	setenv("NOTIFY_SOCKET", parent_address(child->parent), 1);
	unsetenv("LISTEN_FDS");
	if (child->group >= 0) {
		/* Everything else is close-on-exec, and what is at this number is of no use here. */
		if (child->group == FIRST_FD) {
			fcntl(FIRST_FD, F_SETFD, 0);
		} else {
			dup2(child->group, FIRST_FD);
		}
		snprintf(text, sizeof(text), "%d", (int)getpid());
		setenv("LISTEN_PID", text, 1);
		setenv("LISTEN_FDS", "1", 1);
		setenv("LISTEN_FDNAMES", HANDOVER_NAME, 1);
	}
	execv(child->parent->program, child->argv);
	log_error(child->log, "cannot run '%s': %s", child->parent->program, strerror(errno));
	_exit(EXIT_FAILURE);
}

static void start_later(struct child *child);

static void
start(struct child *child)
{
	pid_t self = getpid(), server = fork();

	if (server == 0)
		become_server(child, self);
	if (server < 0) {
		log_error(child->log, "cannot start a server: %s", strerror(errno));
		start_later(child);
		return;
	}
	/* Here, too, because nobody knows who comes first. */
	setpgid(server, server);
	child->server.pid = child->server.group = server;
	child->server.speaker = 0;
	child->state = CHILD_STARTING;
	child->leaving = false;
}

static void
pause_over(struct loop_timer *timer)
{
	start(container_of(timer, struct child, pause));
}

static void
start_later(struct child *child)
{
	uint64_t pause = PAUSE_MIN;

	child->server.pid = 0;
	child->state = CHILD_WAITING;
	for (unsigned i = 0; i < child->failures && pause < PAUSE_MAX; i++)
		pause *= 2;
	child->failures++;
	log_info(child->log, "the next server starts in %.1f seconds, or on SIGHUP",
		(double)pause / (double)NSEC_PER_SEC);
	loop_timer_set(child->parent->loop, &child->pause, clock_now() + pause, pause_over);
}

/* ---- restarting and ending ------------------------------------------------------------------- */

void
child_restart(struct child *child)
{
	child->again = child->state == CHILD_STARTING ||
		       (child->state == CHILD_SERVING && child->server.pid == 0);
	if (child->state == CHILD_SERVING && child->server.pid > 0) {
		log_info(child->log, "restarting the server");
		child->leaving = true;
		kill(child->server.pid, SIGTERM);
	} else if (child->state == CHILD_WAITING) {
		loop_timer_cancel(&child->pause);
		start(child);
	}
}

void
child_replace(struct child *child, char **argv)
{
	/* What is tried now may never have been good, if there is something former. */
	if (child->former)
		child_free_argv(child->argv);
	else
		child->former = child->argv;
	child->argv = argv;
	child_restart(child);
}

void
child_end(struct child *child)
{
	child->ending = true;
	if (child->server.pid > 0)
		kill(child->server.pid, SIGINT);
	else if (child->state == CHILD_WAITING)
		over(child, EXIT_SUCCESS);
}

bool
child_has_group(const struct child *child)
{
	return child->server.group > 0 || child->group >= 0;
}

bool
child_is_settled(const struct child *child)
{
	return child->state != CHILD_STARTING && !child->leaving && !child->ending;
}

/* ---- what the server says -------------------------------------------------------------------- */

static bool
has_line(const char *text, const char *line)
{
	size_t length = strlen(line);

	for (const char *at = text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, line, length) == 0 && (at[length] == '\n' || !at[length]))
			return true;
	}
	return false;
}

/* The process that was our child is gone, and the other one of the server has taken its place. */
static void
take_successor(struct child *child, const char *text)
{
	static const char name[] = "MAINPID=";
	const char *line = strstr(text, name);
	long pid = line ? strtol(line + strlen(name), NULL, 10) : 0;

	if (pid <= 1 || pid > INT_MAX)
		return;
	child->server.pid = (pid_t)pid;
	if (child->ending)
		kill(child->server.pid, SIGINT);
	else if (child->again)
		child_restart(child);
}

static void
said(struct parent_server *server, const char *text, int *fds, size_t n_fds)
{
	struct child *child = container_of(server, struct child, server);
	bool of_group = has_line(text, "FDNAME=" HANDOVER_NAME);

	if (has_line(text, "FDSTOREREMOVE=1") && of_group) {
		child->group = fd_close(child->group);
	} else if (has_line(text, "FDSTORE=1") && of_group && n_fds == 1) {
		fd_close(child->group);
		child->group = fd_take(&fds[0]);
	}
	if (child->state == CHILD_SERVING && child->server.pid == 0)
		take_successor(child, text);
	if (has_line(text, "READY=1") && child->state == CHILD_STARTING) {
		child->state = CHILD_SERVING;
		child->served = true;
		child->since = clock_now();
		if (child->again) {
			/* This server was started before the arguments of the next one came. */
			child_restart(child);
			return;
		}
		child->former = child_free_argv(child->former);
		child->ready(child);
	}
}

/* ---- how the server ends --------------------------------------------------------------------- */

/* It did not take over the group that we keep. */
static void
try_another(struct child *child, const char *how)
{
	if (child->again) {
		child->again = false;
		start(child);
	} else if (child->former) {
		log_error(child->log,
			"the server with the new options %s; going on with the former options",
			how);
		child_free_argv(child->argv);
		child->argv = child->former;
		child->former = NULL;
		start(child);
	} else {
		log_warning(child->log,
			"the new server %s before it took over the group; its clients wait", how);
		start_later(child);
	}
}

static void
ended(struct parent_server *server, int status)
{
	struct child *child = container_of(server, struct child, server);
	bool asked = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	bool had_served = child->state == CHILD_SERVING;
	char how[48];

	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "was killed by signal %d", WTERMSIG(status));
	else
		snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(status));
	child->server.pid = 0;
	child->leaving = false;
	if (had_served && clock_now() - child->since > STEADY)
		child->failures = 0;
	if (child->ending) {
		over(child, asked || !had_served ? EXIT_SUCCESS : EXIT_FAILURE);
	} else if (child->group >= 0 && had_served) {
		start(child);
	} else if (child->group >= 0) {
		try_another(child, how);
	} else if (asked) {
		over(child, EXIT_SUCCESS);
	} else if (child->again) {
		child->again = false;
		start(child);
	} else if (!child->served) {
		over(child, EXIT_FAILURE);
	} else if (child->failures >= FAILURES_MAX) {
		log_error(child->log, "the server %s, again; giving up", how);
		over(child, EXIT_FAILURE);
	} else {
		log_warning(child->log,
			"the server %s, and did not hand over its group: the clients have lost it, and the "
			"next server makes a new one with new memory",
			how);
		start_later(child);
	}
}

void
child_start(struct child *child, char **argv)
{
	child_done(child);
	child->argv = argv;
	child->group = -1;
	child->ending = child->again = child->leaving = child->served = false;
	child->failures = 0;
	child->server.said = said;
	child->server.ended = ended;
	list_append(&child->parent->servers, &child->server.link);
	start(child);
}

void
child_done(struct child *child)
{
	child->argv = child_free_argv(child->argv);
	child->former = child_free_argv(child->former);
}
