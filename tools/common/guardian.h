/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_GUARDIAN_H
#define COMMON_GUARDIAN_H

/*
 * A program that survives being killed: it is two processes, the guardian and the worker.
 *
 * Theory of operation
 *
 * The worker is the program. The guardian waits for its end, and does nothing else. The two share one
 * table of file descriptors (CLONE_FILES), so if the worker is killed, no descriptor is closed:
 * nobody outside sees anything. The guardian then makes another worker, which goes on from the journal
 * (in shared memory). A process that executes a program gets a table of its own, so a worker is
 * made without exec, from the memory of the guardian, which has not changed since before the first.
 *
 *	the worker
 *	  is killed by a signal, and its journal counts		another one is made
 *	  is killed so early, three times in a row		the guardian ends in the same way
 *	  is killed when there is no journal			the guardian ends in the same way
 *	  ends							the guardian ends with its status
 *	the guardian
 *	  is told to end or to reload (SIGTERM, SIGINT, SIGHUP)	it tells the worker
 *	  is killed						the worker becomes the guardian, and
 *								makes another worker
 *
 * The last one is simpler than making a guardian: there is only one way to go on. What it had in
 * memory as a worker stays there until it ends, which is little.
 *
 * The guardian has no descriptor of its own, and so the worker may close all that it does not know.
 */

#include <loop/loop.h>

#include <stdbool.h>
#include <sys/types.h>

/* For worker::run(): the guardian is gone, and this process has to take its place. */
#define GUARDIAN_GONE (-1)

struct worker {
	/*
	 * Serve. `guardian` is the process id of the guardian, and `killed_by` the signal that
	 * killed the worker before, 0 for the first one, or -1 if the guardian was killed instead.
	 * Returns the exit status of the process, or GUARDIAN_GONE.
	 */
	int (*run)(void *data, pid_t guardian, int killed_by);
	/* Whether another worker could go on from what this one has noted. */
	bool (*can_go_on)(void *data);
	/* Whether a worker has served since the last call. */
	bool (*has_served)(void *data);
	/* There is no worker, and the guardian gives up. */
	void (*give_up)(void *data, int killed_by);
	void *data;
};

/* Returns the exit status of the process, in the guardian and in all workers. */
int guardian_run(const struct worker *worker);

/*
 * In a worker with other threads whose guardian is gone: another process becomes the guardian, with only
 * this thread and none of the others, and this process ends. Returns in the other one, after that end;
 * worker::run() then is to return GUARDIAN_GONE. To be called with every lock held that another
 * thread could hold. If there can be no other process, it returns in this one.
 */
void guardian_replace(void);

/*
 * Have the loop of a worker call `fn` when the guardian is gone. Makes source->fd. 0; -ESRCH: it is
 * gone already; or another negative errno: nobody can tell.
 */
int guardian_watch(
	struct loop *loop, struct loop_source *source, pid_t guardian, loop_source_fn fn);

#endif
