/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_SERVICE_H
#define IVSHMEM_AGENT_SERVICE_H

/*
 * What an agent can do for its callers: one service for each kind of request. What one caller wants is
 * a job, with a queue of its own.
 *
 * Theory of operation. The agent has one thread and many jobs, so no service may block. The agent runs
 * a job when its channel or one of its descriptors says that something is worth a try. Each of these
 * has flags: job->may_read and job->may_write for the channel, watch->readable and watch->writable for
 * a descriptor. They become true by themselves. The service clears one when a call says EAGAIN, and
 * goes on with others. When nothing is worth a try, it returns JOB_WAITS; when others should have
 * their turn, JOB_RUNS. Files, which are always ready, need no watch: return JOB_RUNS while there is
 * something to do.
 */

#include "records.h"

#include <base/list.h>

#include <ivshmem/channel.h>

#include <stdbool.h>
#include <stdint.h>

struct cli;
struct job;
struct jobs;

/* A descriptor that wakes a job. It must be taken off before it is closed. */
struct watch {
	struct job *job; /* NULL: it is not watched */
	int fd;
	bool readable, writable;
};

enum job_state {
	JOB_WAITS,
	JOB_RUNS, /* it can do more, after others have had their turn */
	JOB_ENDED,
};

struct service {
	const char *name; /* in requests, and for --allow */

	/*
	 * Begin what a caller asks for, who may. It fills job->what, keeps what it needs in job->state,
	 * and calls job_accept() now or in a later run. On failure it returns a negative errno and a
	 * sentence, for which the caller gets exit status CALL_FAILED; or it calls job_fail() with
	 * another one.
	 */
	int (*begin)(struct job *job, const struct request *request, struct ivshmem_error *reterr);

	/*
	 * Go on. Returns an enum job_state. JOB_ENDED: all is sent, and the caller will receive it. A
	 * negative errno: the channel failed in this way, or the caller broke the protocol (-EPROTO).
	 * Nothing can be sent then.
	 */
	int (*run)(struct job *job);

	/* Give everything back. The caller may be gone, and `begin` may have failed. The watches are
	 * off. */
	void (*free)(struct job *job);
};

struct job {
	struct list link;
	struct list busy; /* in the list of those that are to run; else alone */
	struct jobs *jobs;
	const struct cli *cli;
	uint64_t number; /* for people */
	char who[64];    /* what the caller's participant calls itself */

	struct ivshmem_channel *channel;
	bool may_read, may_write;
	size_t max_record; /* the longest that can be sent, at most RECORD_MAX */

	const struct service *service; /* NULL: it has not said what it wants */
	void *state;                   /* of the service */
	char what[256];                /* for people: what it does */
	bool accepted;
	int status;          /* how it ended, as an exit status */
	bool failed;         /* and was told why */
	uint64_t give_up_at; /* of one that has not said what it wants */
};

/* Tell the caller that its request is accepted. 0, or how the channel failed. */
int job_accept(struct job *job);

/*
 * Tell the caller that it is refused, or cannot go on, and why: `run` should return JOB_ENDED then.
 * 0, or how the channel failed: -EAGAIN is for later, and cannot be before job_accept().
 */
int job_fail(struct job *job, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * The next record of the caller, copied to `buffer` of RECORD_MAX bytes. Returns its length, or
 * -EAGAIN (and clears job->may_read), -EPIPE: it has said everything or is gone, or how the channel
 * failed.
 */
int64_t job_receive(struct job *job, void *buffer);

/* Send a record of ours. 0, or -EAGAIN (and clears job->may_write), or how the channel failed. */
int job_send(struct job *job, const void *record, size_t length);

/* Wake the job when `events` (EPOLLIN, EPOLLOUT) come. 0 or a negative errno: -EPERM is for files. */
int job_watch(struct job *job, struct watch *watch, int fd, uint32_t events);
void job_unwatch(struct watch *watch);

/* Run the job again. */
void job_wake(struct job *job);

/* All services, with NULL at the end. */
extern const struct service *const services[];
extern const struct service exec_service, copy_in_service, copy_out_service;

#endif
