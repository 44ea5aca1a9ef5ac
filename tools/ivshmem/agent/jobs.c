/* SPDX-License-Identifier: BSD-2-Clause */
#include "jobs.h"
#include "log.h"

#include <base/clock.h>
#include <base/error.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* A caller sends its request right after it has connected. */
#define REQUEST_TIME (10 * NSEC_PER_SEC)

const struct service *const services[] = {&exec_service, &copy_in_service, &copy_out_service, NULL};

void
jobs_init(struct jobs *jobs, const struct cli *cli, const struct policy *policy,
	const struct login *login, int epoll)
{
	*jobs = (struct jobs){.cli = cli, .policy = policy, .login = login, .epoll = epoll};
	list_init(&jobs->all);
	list_init(&jobs->busy);
}

void
job_wake(struct job *job)
{
	if (list_empty(&job->busy))
		list_append(&job->jobs->busy, &job->busy);
}

int
jobs_add(struct jobs *jobs, struct ivshmem_channel *channel)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		ivshmem_channel_abort(channel);
		return -ENOMEM;
	}
	ivshmem_channel_status(channel, &status);
	job->jobs = jobs;
	job->cli = jobs->cli;
	job->number = ++jobs->last_number;
	job->channel = channel;
	job->may_read = job->may_write = true;
	job->max_record = (size_t)(status.max_record < RECORD_MAX ? status.max_record : RECORD_MAX);
	job->give_up_at = clock_now() + REQUEST_TIME;
	snprintf(job->who, sizeof(job->who), "%s", status.peer_name);
	list_init(&job->busy);
	list_append(&jobs->all, &job->link);
	jobs->n++;
	ivshmem_channel_set_data(channel, job);
	job_wake(job);
	return 0;
}

static void
job_end(struct job *job, bool broken)
{
	if (job->service)
		job->service->free(job);
	if (broken)
		ivshmem_channel_abort(job->channel);
	else
		ivshmem_channel_close(job->channel);
	list_remove(&job->link);
	list_remove(&job->busy);
	job->jobs->n--;
	free(job);
}

/* ---- records --------------------------------------------------------------------------------- */

int64_t
job_receive(struct job *job, void *buffer)
{
	int64_t n =
		job->may_read ? ivshmem_queue_receive(job->channel, buffer, RECORD_MAX) : -EAGAIN;

	if (n == -EAGAIN)
		job->may_read = false;
	return n == -EMSGSIZE ? -EPROTO : n;
}

int
job_send(struct job *job, const void *record, size_t length)
{
	int r = ivshmem_queue_send(job->channel, record, length);

	if (r == -EAGAIN)
		job->may_write = false;
	return r;
}

int
job_accept(struct job *job)
{
	const struct record record = {.type = RECORD_ACCEPTED};
	char bytes[RECORD_SMALL];

	job->accepted = true;
	log_begun(job);
	return job_send(job, bytes, record_format(bytes, &record));
}

int
job_fail(struct job *job, int status, const char *format, ...)
{
	char sentence[512], bytes[sizeof(sentence) + RECORD_SMALL];
	size_t size = sizeof(bytes) < job->max_record ? sizeof(bytes) : job->max_record;
	va_list args;
	int r;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	r = job_send(job, bytes, record_format_failure(bytes, size, status, sentence));
	if (r < 0)
		return r;
	job->status = status;
	job->failed = true;
	log_failed(job, sentence);
	return 0;
}

/* ---- descriptors ------------------------------------------------------------------------------ */

int
job_watch(struct job *job, struct watch *watch, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events | EPOLLET, .data.ptr = watch};

	if (epoll_ctl(job->jobs->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	*watch = (struct watch){.job = job, .fd = fd, .readable = true, .writable = true};
	return 0;
}

void
job_unwatch(struct watch *watch)
{
	/* A program that was started may have a copy of the descriptor for a moment. So closing it is
	 * not enough for epoll to forget it. */
	if (watch->job)
		epoll_ctl(watch->job->jobs->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->job = NULL;
}

void
jobs_take_event(struct watch *watch, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR))
		watch->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		watch->writable = true;
	job_wake(watch->job);
}

void
jobs_take_channel(struct ivshmem_channel *channel)
{
	struct job *job = ivshmem_channel_data(channel);

	if (!job)
		return;
	job->may_read = job->may_write = true;
	job_wake(job);
}

/* ---- requests --------------------------------------------------------------------------------- */

static const struct service *
find_service(const char *name)
{
	for (unsigned i = 0; services[i]; i++)
		if (strcmp(services[i]->name, name) == 0)
			return services[i];
	return NULL;
}

static int
begin_service(struct job *job, const struct request *request)
{
	const struct service *service = find_service(request->service);
	struct ivshmem_error error = {.message = ""};
	char refusal[512];
	int r;

	snprintf(job->what, sizeof(job->what), "%s", request->service);
	if (!service)
		return job_fail(
			job, CALL_FAILED, "this agent has no service '%s'", request->service);
	if (!policy_allows(job->jobs->policy, service->name, refusal, sizeof(refusal)))
		return job_fail(job, CALL_FAILED, "%s", refusal);
	job->service = service;
	r = service->begin(job, request, &error);
	if (r == 0 || job->failed)
		return 0;
	return job_fail(job, CALL_FAILED, "%s", error.message[0] ? error.message : strerror(-r));
}

/* What the caller wants. Returns as a service's run() does. */
static int
take_request(struct job *job)
{
	static char buffer[RECORD_MAX];
	int64_t n = job_receive(job, buffer);
	struct request request;
	struct ivshmem_error error;
	int r;

	if (n == -EAGAIN)
		return JOB_WAITS;
	if (n < 0)
		return (int)n;
	r = request_parse(&request, buffer, (size_t)n, &error);
	if (r < 0) {
		snprintf(job->what, sizeof(job->what), "an unknown request");
		r = job_fail(job, CALL_FAILED, "%s", error.message);
		return r < 0 ? r : JOB_ENDED;
	}
	r = begin_service(job, &request);
	request_free(&request);
	if (r < 0)
		return r;
	return job->failed ? JOB_ENDED : JOB_RUNS;
}

/* ---- running ---------------------------------------------------------------------------------- */

static const char *
explain(int error)
{
	switch (error) {
	case -EPIPE:
		return "the caller has left";
	case -ECONNRESET:
		return "the caller died or gave up";
	case -EPROTO:
		return "what the caller sent makes no sense";
	default:
		return strerror(-error);
	}
}

static int
run_job(struct job *job)
{
	int r = job->service ? job->service->run(job) : take_request(job);

	if (r == JOB_RUNS) {
		job_wake(job);
	} else if (r == JOB_ENDED) {
		if (!job->failed)
			log_ended(job, NULL);
		job_end(job, false);
	} else if (r < 0) {
		if (!job->failed)
			log_ended(job, explain(r));
		job_end(job, true);
	}
	return r == -ESTALE || r == -ENODEV ? r : 0;
}

int
jobs_run(struct jobs *jobs)
{
	struct list round;
	int r = 0;

	/* Those that want to run again come after the others. */
	list_init(&round);
	list_splice(&round, &jobs->busy);
	while (r == 0 && !list_empty(&round)) {
		struct job *job = container_of(round.next, struct job, busy);

		list_remove(&job->busy);
		r = run_job(job);
	}
	list_splice(&jobs->busy, &round);
	return r;
}

void
jobs_wake_all(struct jobs *jobs)
{
	list_for_each (link, &jobs->all)
		job_wake(container_of(link, struct job, link));
}

uint64_t
jobs_give_up(struct jobs *jobs)
{
	uint64_t now = clock_now(), next = UINT64_MAX;

	list_for_each_safe (link, &jobs->all) {
		struct job *job = container_of(link, struct job, link);

		if (job->service)
			continue;
		if (now >= job->give_up_at) {
			log_ended(job, "the caller did not say what it wants");
			job_end(job, true);
		} else if (job->give_up_at < next) {
			next = job->give_up_at;
		}
	}
	return next;
}

void
jobs_free(struct jobs *jobs)
{
	list_for_each_safe (link, &jobs->all)
		job_end(container_of(link, struct job, link), true);
}
