/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The service "exec": a command, with its stdin, stdout and stderr as streams 0 to 2, or with a
 * terminal as streams 0 and 1.
 *
 * When the command has ended, what it wrote is still in its pipes, and goes to the caller first. A
 * process that it left behind may hold the pipes open for ever; what that writes later, nobody gets.
 */
#include "children.h"
#include "flow.h"
#include "jobs.h"
#include "spawn.h"

#include <base/error.h>
#include <base/fd.h>
#include <base/parse.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

/* So many steps before another job has its turn. */
#define TURN 64

/* What a terminal holds at most, and more. */
#define TERMINAL_HOLDS (1 << 20)

#define END_OF_INPUT '\004' /* Ctrl-D */

struct exec {
	struct spawned process;
	bool terminal, starting;
	bool in_closed; /* the command knows that its input has ended */
	bool ended;
	struct child_end end;
	struct watch in_watch, out_watch, err_watch, report_watch;
	struct flow_in in;
	struct flow_out out, err;
};

/* ---- the request ------------------------------------------------------------------------------- */

/* The values of all fields of this name, with NULL at the end. */
static char **
values_of(const struct request *request, const char *name)
{
	char **values = calloc((size_t)request->n_fields + 1, sizeof(*values));
	unsigned n = 0;

	for (unsigned i = 0; values && i < request->n_fields; i++)
		if (strcmp(request->fields[i].name, name) == 0)
			values[n++] = request->fields[i].value;
	return values;
}

static int
check_fields(const struct request *request, struct ivshmem_error *reterr)
{
	static const char *const known[] = {"argument", "environment", "directory", "terminal"};

	for (unsigned i = 0; i < request->n_fields; i++) {
		const struct request_field *field = &request->fields[i];
		bool found = false;

		for (unsigned k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			found = found || strcmp(field->name, known[k]) == 0;
		if (!found)
			return error_set(reterr, -EINVAL,
				"the agent does not know '%s' of a request: use the same version of "
				"ivshmem at both sides",
				field->name);
		if (strcmp(field->name, "environment") == 0 &&
			(!strchr(field->value, '=') || field->value[0] == '='))
			return error_set(
				reterr, -EINVAL, "'%.100s' is not NAME=VALUE", field->value);
	}
	return 0;
}

static int
take_terminal(struct spawn *plan, const char *text, struct ivshmem_error *reterr)
{
	unsigned rows, columns;
	char first[8];
	size_t length;

	if (!text)
		return 0;
	length = strcspn(text, "x");
	snprintf(first, sizeof(first), "%.*s", length < sizeof(first) ? (int)length : 0, text);
	if (text[length] != 'x' || parse_uint(first, 0, UINT16_MAX, &rows) < 0 ||
		parse_uint(text + length + 1, 0, UINT16_MAX, &columns) < 0)
		return error_set(reterr, -EINVAL, "'%.100s' is not the size of a terminal", text);
	plan->terminal = true;
	plan->rows = (uint16_t)rows;
	plan->columns = (uint16_t)columns;
	return 0;
}

/* For the log. */
static void
describe(struct job *job, char *const *arguments)
{
	size_t length = 0;

	snprintf(job->what, sizeof(job->what), "a login shell");
	for (; *arguments && length < sizeof(job->what); arguments++)
		length += (size_t)snprintf(job->what + length, sizeof(job->what) - length, "%s%s",
			length > 0 ? " " : "", *arguments);
}

/* ---- beginning --------------------------------------------------------------------------------- */

static int
watch_all(struct job *job, struct exec *exec)
{
	const struct spawned *process = &exec->process;
	uint32_t both = exec->terminal ? EPOLLIN | EPOLLOUT : EPOLLOUT;
	int r = job_watch(job, &exec->report_watch, process->report, EPOLLIN);

	if (r == 0)
		r = job_watch(job, &exec->in_watch, process->in, both);
	if (r == 0 && !exec->terminal)
		r = job_watch(job, &exec->out_watch, process->out, EPOLLIN);
	if (r == 0 && !exec->terminal)
		r = job_watch(job, &exec->err_watch, process->err, EPOLLIN);
	return r;
}

static int
start(struct job *job, struct exec *exec, const struct spawn *plan, struct ivshmem_error *reterr)
{
	int r = spawn(plan, &exec->process, reterr);

	if (r < 0)
		return r;
	exec->starting = true;
	exec->terminal = plan->terminal;
	flow_in_begin(&exec->in, 0, exec->process.in);
	flow_out_begin(&exec->out, 1, exec->process.out, job->max_record);
	flow_out_begin(&exec->err, 2, exec->process.err, job->max_record);
	if (exec->terminal)
		exec->err.ended = exec->err.told = true;
	r = watch_all(job, exec);
	return r < 0 ? error_set(reterr, r, "cannot watch the command: %s", strerror(-r)) : 0;
}

static int
exec_begin(struct job *job, const struct request *request, struct ivshmem_error *reterr)
{
	struct exec *exec = calloc(1, sizeof(*exec));
	struct spawn plan = {.arguments = values_of(request, "argument"),
		.environment = values_of(request, "environment"),
		.directory = request_value(request, "directory"),
		.login = job->jobs->login};
	int r = 0;

	job->state = exec;
	if (exec)
		exec->process =
			(struct spawned){.pid = -1, .in = -1, .out = -1, .err = -1, .report = -1};
	if (!exec || !plan.arguments || !plan.environment)
		r = -ENOMEM;
	if (r == 0) {
		describe(job, plan.arguments);
		r = check_fields(request, reterr);
	}
	if (r == 0)
		r = take_terminal(&plan, request_value(request, "terminal"), reterr);
	if (r == 0)
		r = start(job, exec, &plan, reterr);
	free(plan.arguments);
	free(plan.environment);
	return r;
}

/* Whether the command runs. 1: it does, 0: nobody knows yet, or how the channel failed. */
static int
finish_start(struct job *job, struct exec *exec)
{
	struct ivshmem_error error;
	int status;
	int r = spawn_report(exec->process.report, &status, &error);

	if (r == -EAGAIN)
		return 0;
	job_unwatch(&exec->report_watch);
	exec->process.report = fd_close(exec->process.report);
	exec->starting = false;
	r = r < 0 ? job_fail(job, status, "%s", error.message) : job_accept(job);
	return r < 0 ? r : 1;
}

/* ---- what the caller sends --------------------------------------------------------------------- */

/* Ctrl-C is for what runs in the foreground of a terminal, not for its shell. */
static pid_t
group_for(const struct exec *exec, int number)
{
	pid_t foreground;

	if (exec->terminal && (number == SIGINT || number == SIGQUIT) &&
		ioctl(exec->process.in, TIOCGPGRP, &foreground) == 0 && foreground > 0)
		return foreground;
	return exec->process.pid;
}

static int
take_signal(struct exec *exec, uint32_t number)
{
	if (number < 1 || number >= NSIG)
		return -EPROTO;
	kill(-group_for(exec, (int)number), (int)number);
	return 0;
}

static int
take_record(struct exec *exec, const struct record *record)
{
	struct flow_out *flow = record->stream == 1 ? &exec->out : &exec->err;

	switch (record->type) {
	case RECORD_DATA:
		return record->stream == 0 ? flow_in_take(&exec->in, record->bytes, record->length)
					   : -EPROTO;
	case RECORD_END:
		return record->stream == 0 ? flow_in_end(&exec->in) : -EPROTO;
	case RECORD_CREDIT:
		return record->stream == 1 || record->stream == 2
			       ? flow_out_credit(flow, record->number)
			       : -EPROTO;
	case RECORD_UNWANTED:
		if (record->stream != 1 && record->stream != 2)
			return -EPROTO;
		flow_out_unwanted(flow);
		return 0;
	case RECORD_SIGNAL:
		return take_signal(exec, record->number);
	case RECORD_TERMINAL_SIZE:
		if (!exec->terminal)
			return -EPROTO;
		spawn_resize(exec->process.in, record->rows, record->columns);
		return 0;
	default:
		return -EPROTO;
	}
}

/* 1: a record was taken, 0: there is none, or how the channel failed. */
static int
receive(struct job *job, struct exec *exec)
{
	static char buffer[RECORD_MAX];
	int64_t n = job_receive(job, buffer);
	struct record record;
	int r;

	if (n < 0)
		return n == -EAGAIN ? 0 : (int)n;
	r = record_parse(&record, buffer, (size_t)n);
	if (r == 0)
		r = take_record(exec, &record);
	return r < 0 ? r : 1;
}

/* ---- the command's descriptors ----------------------------------------------------------------- */

static void
close_in(struct exec *exec)
{
	if (exec->terminal)
		return;
	job_unwatch(&exec->in_watch);
	exec->process.in = fd_close(exec->process.in);
}

/* A terminal stays open, and is told: at the beginning of a line at once, else the first one ends the
 * line. Returns whether that is done. */
static bool
end_terminal_input(struct exec *exec)
{
	static const char twice[] = {END_OF_INPUT, END_OF_INPUT};
	bool at_start = exec->in.received == 0 || exec->in.last == '\n' || exec->in.last == '\r';

	if (!exec->in.writable)
		return false;
	if (write(exec->process.in, twice, at_start ? 1 : 2) < 0 && errno == EAGAIN) {
		exec->in.writable = false;
		return false;
	}
	return true;
}

/* Whether something was done. */
static bool
run_in(struct exec *exec)
{
	bool done;

	exec->in.writable = exec->in_watch.writable;
	done = flow_in_run(&exec->in);
	if (exec->in.ended && !exec->in_closed && flow_in_waiting(&exec->in) == 0) {
		exec->in_closed = !exec->terminal || end_terminal_input(exec);
		done = done || exec->in_closed;
	}
	if (exec->in_closed || exec->in.unwanted)
		close_in(exec);
	exec->in_watch.writable = exec->in.writable;
	return done;
}

/* The caller does not want this any more: whoever writes there is to learn of it. */
static void
close_out(struct exec *exec, struct flow_out *flow, struct watch *watch, int *fd)
{
	if (*fd < 0 || !flow->unwanted)
		return;
	if (exec->terminal) {
		kill(-exec->process.pid, SIGHUP);
		flow->unwanted = false;
		return;
	}
	job_unwatch(watch);
	*fd = fd_close(*fd);
}

static int
run_out(struct job *job, struct exec *exec, struct flow_out *flow, struct watch *watch, int *fd)
{
	int r;

	close_out(exec, flow, watch, fd);
	if (!job->may_write)
		return 0;
	flow->readable = watch->readable;
	r = flow_out_run(flow, job->channel);
	watch->readable = flow->readable;
	return flow->error ? flow->error : r;
}

/* ---- the end ----------------------------------------------------------------------------------- */

/* What the command wrote is in the pipes. */
static void
notice_end(struct exec *exec)
{
	struct flow_out *const flows[] = {&exec->out, &exec->err};

	if (exec->ended || !child_has_ended(exec->process.pid, &exec->end))
		return;
	exec->ended = true;
	for (unsigned i = 0; i < 2; i++) {
		int waiting = 0;

		if (flows[i]->ended)
			continue;
		ioctl(flows[i]->fd, FIONREAD, &waiting);
		flows[i]->left = exec->terminal ? TERMINAL_HOLDS : (uint64_t)waiting;
		flows[i]->last = flows[i]->readable = true;
	}
	exec->out_watch.readable = exec->in_watch.readable = exec->err_watch.readable = true;
}

static int
send_end(struct job *job, struct exec *exec)
{
	const struct record record = {.type = exec->end.killed ? RECORD_KILLED : RECORD_EXITED,
		.number = (uint8_t)exec->end.number};
	char bytes[RECORD_SMALL];
	int r = job_send(job, bytes, record_format(bytes, &record));

	if (r == 0)
		job->status = exec->end.killed ? 128 + exec->end.number : exec->end.number;
	return r < 0 ? r : JOB_ENDED;
}

/* ---- running ----------------------------------------------------------------------------------- */

/* One step of everything. 1: something was done, 0: nothing can be done, or how the channel failed. */
static int
step(struct job *job, struct exec *exec)
{
	struct watch *out_watch = exec->terminal ? &exec->in_watch : &exec->out_watch;
	int received = receive(job, exec), done, r;

	if (received < 0 || exec->starting)
		return received;
	done = received + run_in(exec);
	r = run_out(job, exec, &exec->out, out_watch, &exec->process.out);
	if (r < 0)
		return r;
	done += r;
	r = run_out(job, exec, &exec->err, &exec->err_watch, &exec->process.err);
	if (r < 0)
		return r;
	done += r;
	r = job->may_write ? flow_in_tell(&exec->in, job->channel) : 0;
	return r < 0 ? r : done + r > 0;
}

static int
exec_run(struct job *job)
{
	struct exec *exec = job->state;
	int r = 1;

	if (exec->starting) {
		r = finish_start(job, exec);
		if (r < 0 || job->failed)
			return r < 0 ? r : JOB_ENDED;
	}
	if (!exec->starting)
		notice_end(exec);
	for (unsigned i = 0; i < TURN; i++) {
		r = step(job, exec);
		if (r == -EAGAIN)
			job->may_write = false;
		else if (r < 0)
			return r;
		if (exec->ended && exec->out.told && exec->err.told && job->may_write) {
			r = send_end(job, exec);
			if (r != -EAGAIN)
				return r;
		}
		if (r == 0 || r == -EAGAIN)
			break;
	}
	ivshmem_queue_flush(job->channel);
	return r > 0 ? JOB_RUNS : JOB_WAITS;
}

static void
exec_free(struct job *job)
{
	struct exec *exec = job->state;

	if (!exec)
		return;
	job_unwatch(&exec->report_watch);
	job_unwatch(&exec->in_watch);
	job_unwatch(&exec->out_watch);
	job_unwatch(&exec->err_watch);
	fd_close(exec->process.report);
	fd_close(exec->process.in);
	if (!exec->terminal)
		fd_close(exec->process.out);
	fd_close(exec->process.err);
	if (exec->process.pid > 0 && exec->ended)
		child_reap(exec->process.pid);
	else if (exec->process.pid > 0)
		child_abandon(exec->process.pid);
	flow_in_free(&exec->in);
	free(exec);
}

const struct service exec_service = {
	.name = "exec",
	.begin = exec_begin,
	.run = exec_run,
	.free = exec_free,
};
