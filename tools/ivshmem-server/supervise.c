/* SPDX-License-Identifier: BSD-2-Clause */
#include <supervise.h>

#include <base/list.h>
#include <base/log.h>
#include <base/parse.h>
#include <child.h>
#include <common/supervisor.h>
#include <parent.h>

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct supervision {
	struct parent parent;
	struct child child;
	int status; /* our own, at the end */
};

bool
supervise_is_server(void)
{
	const char *parent = getenv(PARENT_NAME);
	unsigned pid;

	return parent && parse_uint(parent, 1, INT_MAX, &pid) == 0 && (pid_t)pid == getppid();
}

static void
ready(struct child *child)
{
	(void)child;
	/* There may be a supervisor above us, too. */
	supervisor_notify("READY=1\nMAINPID=%d", (int)getpid());
}

static void
over(struct child *child, int status)
{
	struct supervision *supervision = container_of(child, struct supervision, child);

	supervision->status = status;
	loop_quit(supervision->parent.loop);
}

static void
told(struct parent *parent, int signal)
{
	struct supervision *supervision = container_of(parent, struct supervision, parent);
	struct child *child = &supervision->child;

	if (child->state == CHILD_OVER)
		return;
	if (signal != SIGHUP)
		child_end(child);
	else if (!child->ending)
		child_restart(child);
}

static char **
copy_argv(char **argv)
{
	size_t n = 0;
	char **copy;

	while (argv[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(argv[i]);
		if (!copy[i])
			return child_free_argv(copy);
	}
	return copy;
}

int
supervise(char **argv, const struct log *log)
{
	struct supervision supervision = {.child = {.parent = &supervision.parent,
						  .log = log,
						  .ready = ready,
						  .over = over,
						  .group = -1},
		.status = EXIT_FAILURE};
	char **copy = copy_argv(argv);
	int r = parent_open(&supervision.parent, told);

	if (r == 0 && !copy)
		r = -ENOMEM;
	if (r == 0) {
		child_start(&supervision.child, copy);
		r = loop_run(supervision.parent.loop);
	} else {
		child_free_argv(copy);
	}
	if (r < 0)
		log_error(log, "cannot supervise a server: %s", strerror(-r));
	child_done(&supervision.child);
	parent_close(&supervision.parent);
	return supervision.status;
}
