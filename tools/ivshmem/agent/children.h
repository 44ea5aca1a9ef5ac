/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_CHILDREN_H
#define IVSHMEM_AGENT_CHILDREN_H

/*
 * The processes of commands. Each is the leader of a process group of its own, and is not reaped
 * before we are done with it: until then, its number cannot belong to anybody else, and the group can
 * be signalled.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How a command ended. */
struct child_end {
	bool killed;
	int number; /* its exit status, or the signal */
};

/* Whether this child has ended. It is not reaped. */
bool child_has_ended(pid_t pid, struct child_end *ret_end);

/* Reap one that has ended. */
void child_reap(pid_t pid);

/* Nobody wants this one any more: its group gets SIGHUP, and later SIGKILL. */
void child_abandon(pid_t pid);

/* Kill and reap those that were abandoned. Returns when to call this again, in clock_now(), or
 * UINT64_MAX. */
uint64_t children_tend(void);

/* We end: wait for those that were abandoned, and kill them when their time is over. */
void children_end(void);

#endif
