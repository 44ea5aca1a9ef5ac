/* SPDX-License-Identifier: BSD-2-Clause */
#include "children.h"

#include <base/clock.h>
#include <base/list.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

/* After SIGHUP, a command may put its things in order for so long. */
#define GRACE (5 * NSEC_PER_SEC)

/* While we end, we look so often whether they have ended. */
#define STEP_MS 20

struct abandoned {
	struct list link;
	pid_t pid;
	uint64_t kill_at;
	bool reaped, killed;
};

static struct list abandoned = {&abandoned, &abandoned};

bool
child_has_ended(pid_t pid, struct child_end *ret_end)
{
	siginfo_t info = {.si_pid = 0};

	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != pid)
		return false;
	*ret_end =
		(struct child_end){.killed = info.si_code != CLD_EXITED, .number = info.si_status};
	return true;
}

void
child_reap(pid_t pid)
{
	while (waitpid(pid, NULL, WNOHANG) < 0 && errno == EINTR)
		;
}

void
child_abandon(pid_t pid)
{
	struct abandoned *child = malloc(sizeof(*child));

	kill(-pid, SIGHUP);
	/* One that is stopped could not do anything about it. */
	kill(-pid, SIGCONT);
	if (!child) {
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return;
	}
	*child = (struct abandoned){.pid = pid, .kill_at = clock_now() + GRACE};
	list_append(&abandoned, &child->link);
}

/* Whether we are done with it. Others of its group may live longer than the leader; as long as one
 * does, the number of the group is not given to anybody else. */
static bool
is_over(struct abandoned *child, uint64_t now)
{
	struct child_end end;

	if (!child->reaped && child_has_ended(child->pid, &end)) {
		child_reap(child->pid);
		child->reaped = true;
	}
	if (child->reaped && kill(-child->pid, 0) < 0)
		return true;
	if (!child->killed && now >= child->kill_at) {
		kill(-child->pid, SIGKILL);
		child->killed = true;
	}
	return child->reaped && child->killed;
}

uint64_t
children_tend(void)
{
	uint64_t now = clock_now(), next = UINT64_MAX;

	list_for_each_safe (link, &abandoned) {
		struct abandoned *child = container_of(link, struct abandoned, link);

		if (is_over(child, now)) {
			list_remove(&child->link);
			free(child);
		} else if (!child->killed && child->kill_at < next) {
			next = child->kill_at;
		}
	}
	return next;
}

void
children_end(void)
{
	children_tend();
	while (!list_empty(&abandoned)) {
		poll(NULL, 0, STEP_MS);
		children_tend();
	}
}
