/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * copy-in and copy-out: files that come from a caller, and that go to one. After RECORD_ACCEPTED, the
 * records are those of copy/tree.h.
 */
#include "jobs.h"
#include "login.h"
#include "service.h"

#include "copy/receiver.h"
#include "copy/sender.h"

#include <base/clock.h>
#include <base/error.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE  UINT64_C(100000) /* ns */
#define IN_VAIN   4                /* so often nothing came: it does not pay */
#define TRY_AGAIN 64

struct copying {
	struct sender *sender;     /* copy-out */
	struct receiver *receiver; /* copy-in */
	char **paths;              /* of the sender, with a NULL at the end */
	unsigned in_vain;          /* how often we looked, and nothing came */
};

/* ---- requests ---------------------------------------------------------------------------------- */

/* Relative paths begin in the user's home, as with scp. To be freed; NULL: no memory. */
static char *
resolve(const struct login *login, const char *path)
{
	char *resolved;

	if (path[0] == '/')
		return strdup(path);
	if (asprintf(&resolved, "%s%s%s", login->home,
		    login->home[0] && login->home[strlen(login->home) - 1] == '/' ? "" : "/",
		    path[0] ? path : ".") < 0)
		return NULL;
	return resolved;
}

/* Whether this request has the fields of a copy and no others. */
static int
check_fields(const struct request *request, const char *path_field, struct ivshmem_error *reterr)
{
	static const char *const switches[] = {"resume", "owner", "count", "many"};

	for (unsigned i = 0; i < request->n_fields; i++) {
		const char *name = request->fields[i].name;
		bool known = strcmp(name, path_field) == 0;

		for (unsigned n = 0; n < sizeof(switches) / sizeof(switches[0]); n++)
			known = known || strcmp(name, switches[n]) == 0;
		if (!known)
			return error_set(reterr, -EINVAL,
				"this agent cannot copy with '%.100s': it has another version",
				name);
	}
	return 0;
}

static struct copy_options
options_of(const struct job *job, const struct request *request)
{
	return (struct copy_options){
		.resume = request_value(request, "resume") != NULL,
		.owner = request_value(request, "owner") != NULL,
		.count = request_value(request, "count") != NULL,
		.many = request_value(request, "many") != NULL,
		.uncached = job->jobs->uncached,
	};
}

/* The job is accepted, or ends with this error. */
static int
finish_begin(struct job *job, bool begun, struct ivshmem_error *reterr)
{
	return begun ? job_accept(job) : error_set(reterr, -ENOMEM, "the agent is out of memory");
}

static int
begin_in(struct job *job, const struct request *request, struct ivshmem_error *reterr)
{
	const struct login *login = job->jobs->login;
	struct copy_options options = options_of(job, request);
	const char *to = request_value(request, "to");
	struct copying *copying = calloc(1, sizeof(*copying));
	char *path;
	int r;

	job->state = copying;
	r = check_fields(request, "to", reterr);
	if (r < 0)
		return r;
	if (!to)
		return error_set(reterr, -EINVAL, "the request does not say where to copy to");
	path = resolve(login, to);
	if (!copying || !path) {
		free(path);
		return finish_begin(job, false, reterr);
	}
	snprintf(job->what, sizeof(job->what), "copy to %s", path);
	copying->receiver = receiver_new(job->channel, &options, path);
	free(path);
	return finish_begin(job, copying->receiver != NULL, reterr);
}

/* Returns how many there are, or -ENOMEM. */
static int
take_paths(struct copying *copying, const struct login *login, const struct request *request)
{
	int n = 0;

	copying->paths = calloc(request->n_fields + 1, sizeof(*copying->paths));
	if (!copying->paths)
		return -ENOMEM;
	for (unsigned i = 0; i < request->n_fields; i++) {
		if (strcmp(request->fields[i].name, "from") != 0)
			continue;
		copying->paths[n] = resolve(login, request->fields[i].value);
		if (!copying->paths[n])
			return -ENOMEM;
		n++;
	}
	return n;
}

static int
begin_out(struct job *job, const struct request *request, struct ivshmem_error *reterr)
{
	struct copy_options options = options_of(job, request);
	struct copying *copying = calloc(1, sizeof(*copying));
	int n;

	job->state = copying;
	if (!copying)
		return finish_begin(job, false, reterr);
	n = check_fields(request, "from", reterr);
	if (n < 0)
		return n;
	n = take_paths(copying, job->jobs->login, request);
	if (n == 0)
		return error_set(reterr, -EINVAL, "the request does not say what to copy");
	if (n > 0)
		copying->sender =
			sender_new(job->channel, &options, (const char *const *)copying->paths);
	if (copying->sender)
		snprintf(job->what, sizeof(job->what), "copy from %s%s", copying->paths[0],
			n > 1 ? " and more" : "");
	return finish_begin(job, copying->sender != NULL, reterr);
}

/* ---- running ----------------------------------------------------------------------------------- */

static int
step(struct copying *copying)
{
	return copying->sender ? sender_run(copying->sender) : receiver_run(copying->receiver);
}

/* Looking for something takes the processor from whom we wait for, if there is only one. */
static bool
may_look(void)
{
	static long processors;

	if (processors == 0)
		processors = sysconf(_SC_NPROCESSORS_ONLN);
	return processors > 1;
}

/*
 * The next piece often comes sooner than it takes to sleep and to be woken. So look for it for a
 * moment, as long as that pays, and now and then whether it pays again. Others wait no longer than that.
 */
static int
step_with_patience(struct copying *copying)
{
	int state = step(copying);
	uint64_t until;

	if (state != COPY_WAITS || !may_look())
		return state;
	if (copying->in_vain >= IN_VAIN && copying->in_vain % TRY_AGAIN != 0) {
		copying->in_vain++;
		return state;
	}
	until = clock_now() + PATIENCE;
	while (state == COPY_WAITS && clock_now() < until)
		state = step(copying);
	copying->in_vain = state == COPY_WAITS ? copying->in_vain + 1 : 0;
	return state;
}

static int
run(struct job *job)
{
	struct copying *copying = job->state;
	int state = step_with_patience(copying);
	const struct copy_totals *totals;

	switch (state) {
	case COPY_RUNS:
		return JOB_RUNS;
	case COPY_WAITS:
		job->may_read = job->may_write = false;
		return JOB_WAITS;
	case COPY_ENDED:
		totals = copying->sender ? sender_totals(copying->sender)
					 : receiver_totals(copying->receiver);
		job->status = totals->complete && totals->problems == 0 ? 0 : 1;
		return JOB_ENDED;
	default:
		return state;
	}
}

static void
end(struct job *job)
{
	struct copying *copying = job->state;

	if (!copying)
		return;
	sender_free(copying->sender);
	receiver_free(copying->receiver);
	for (char **path = copying->paths; path && *path; path++)
		free(*path);
	free(copying->paths);
	free(copying);
}

const struct service copy_in_service = {
	.name = "copy-in", .begin = begin_in, .run = run, .free = end};
const struct service copy_out_service = {
	.name = "copy-out", .begin = begin_out, .run = run, .free = end};
