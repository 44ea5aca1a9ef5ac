/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_JOBS_H
#define IVSHMEM_AGENT_JOBS_H

/* The jobs of an agent: from a caller that has connected to the end of its service. */

#include "cli.h"
#include "login.h"
#include "policy.h"
#include "service.h"

struct jobs {
	const struct cli *cli;
	const struct policy *policy;
	const struct login *login; /* whom commands belong to */
	int epoll;                 /* watches have their struct watch as data */
	struct list all, busy;
	unsigned n;
	uint64_t last_number;
	bool uncached; /* how the memory is mapped: no system call should work there */
};

/* The pointers are borrowed. */
void jobs_init(struct jobs *jobs, const struct cli *cli, const struct policy *policy,
	const struct login *login, int epoll);

/* A job for a caller. Takes the channel over, and on -ENOMEM aborts it. */
int jobs_add(struct jobs *jobs, struct ivshmem_channel *channel);

/* Run those that have something to do. 0, or -ESTALE or -ENODEV: nothing works any more. */
int jobs_run(struct jobs *jobs);

/* Run all of them again: a process has ended. */
void jobs_wake_all(struct jobs *jobs);

/* The channel or the descriptor of a job has something to do. */
void jobs_take_channel(struct ivshmem_channel *channel);
void jobs_take_event(struct watch *watch, uint32_t events);

/* Give up callers that have not said what they want for too long. Returns when to call this again, in
 * clock_now(), or UINT64_MAX. */
uint64_t jobs_give_up(struct jobs *jobs);

/* End all jobs. Their callers learn that we have gone. */
void jobs_free(struct jobs *jobs);

#endif
