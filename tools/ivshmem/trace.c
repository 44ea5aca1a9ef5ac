/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"
#include "output.h"
#include "traced.h"

#include <base/clock.h>
#include <base/parse.h>
#include <trace/text.h>
#include <trace/trace.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>

#define PROCESSES 32

/* A ring has room for what happens within this time. */
#define LOOK_EVERY_MS 50

static struct {
	bool list;
	bool follow;
	uint64_t last;
	const char *core;
} given = {.last = UINT64_MAX};

static const struct argument trace_options[] = {
	{"follow", NULL, "go on with what happens from now on, until the processes have ended",
		.letter = 'f', .flag = &given.follow},
	{"last", "N", "begin with the last N events (default: all that are there)", .letter = 'n',
		.count = &given.last},
	{"core", "FILE", "read the core that a process has left, instead of a process",
		.text = &given.core, .min = 1},
	{"list", NULL, "print what events there are, and what they mean", .letter = 'l',
		.flag = &given.list},
};

struct trace {
	const struct cli *cli;
	struct traced processes[PROCESSES];
	unsigned n_processes;
	struct traced_events events;
	unsigned round;
	int64_t to_real; /* from CLOCK_MONOTONIC to CLOCK_REALTIME; ns */
};

/* ---- what there is --------------------------------------------------------------------------- */

static void
list_json(const struct trace_event *event)
{
	struct json json = JSON_BEGIN;

	json_object(&json, NULL);
	json_string(&json, "event", event->name);
	json_number(&json, "number", event->number);
	json_string(&json, "args", event->arguments);
	json_string(&json, "meaning", event->what);
	json_finish(&json);
}

static enum status
list_events(const struct cli *cli)
{
	for (unsigned i = 0; i < trace_n_events; i++) {
		const struct trace_event *event = &trace_events[i];
		const struct trace_entry none = {0};
		struct trace_argument argument = TRACE_NO_ARGUMENT;

		if (cli->json) {
			list_json(event);
			continue;
		}
		printf("%s", event->name);
		while (trace_next_argument(&none, event, &argument))
			printf(" %.*s", argument.name_length, argument.name);
		print_line("\n    %s", event->what);
	}
	return STATUS_OK;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void
print_argument(struct json *json, const struct trace_argument *argument)
{
	const char *word = NULL;
	char name[32];

	snprintf(name, sizeof(name), "%.*s", argument->name_length, argument->name);
	if (argument->kind == 's')
		word = argument->text;
	else if (argument->kind == 'k')
		word = trace_kind_name(argument->value);
	else if (argument->kind == 'e')
		word = trace_error_name((int64_t)argument->value);
	if (word)
		json_string(json, name, word);
	else if (argument->kind == 'i' || argument->kind == 'e')
		json_decimal(json, name, (double)(int64_t)argument->value, 0);
	else
		json_number(json, name, argument->value);
}

/* In ns since 1970. A process may lie about the time, so that the sum must be one that may wrap. */
static uint64_t
real_time(const struct trace *trace, uint64_t time)
{
	return time + (uint64_t)trace->to_real;
}

static void
print_json(const struct trace *trace, const struct traced_event *shown)
{
	const struct traced *process = &trace->processes[shown->process];
	const struct trace_entry *entry = &shown->entry;
	const struct trace_event *event = trace_find_event(trace_event_of(entry));
	struct trace_argument argument = TRACE_NO_ARGUMENT;
	struct json json = JSON_BEGIN;

	json_object(&json, NULL);
	if (process->pid)
		json_decimal(
			&json, "time", (double)(int64_t)real_time(trace, shown->time) / 1e9, 6);
	else
		json_null(&json, "time");
	json_decimal(&json, "uptime", (double)shown->time / 1e9, 6);
	json_string(&json, "program", process->program);
	if (process->pid)
		json_number(&json, "pid", (uint64_t)process->pid);
	else
		json_null(&json, "pid");
	json_number(&json, "thread", trace_thread_of(entry));
	if (event)
		json_string(&json, "event", event->name);
	else
		json_null(&json, "event");
	json_number(&json, "number", trace_event_of(entry));
	json_object(&json, "args");
	while (event && trace_next_argument(entry, event, &argument))
		print_argument(&json, &argument);
	json_end(&json);
	json_finish(&json);
}

/* Of a core, which may be of another machine, we do not know the time of day. */
static void
print_time(const struct trace *trace, const struct traced *process, uint64_t time)
{
	uint64_t real = real_time(trace, time);
	time_t seconds = (time_t)(real / NSEC_PER_SEC);
	struct tm local;
	char text[32];

	if (!process->pid || !localtime_r(&seconds, &local) ||
		strftime(text, sizeof(text), "%H:%M:%S", &local) == 0)
		printf("%.6f", (double)time / 1e9);
	else
		printf("%s.%06u", text, (unsigned)(real % NSEC_PER_SEC / 1000));
}

static void
print_text(const struct trace *trace, const struct traced_event *shown)
{
	const struct traced *process = &trace->processes[shown->process];
	uint32_t thread = trace_thread_of(&shown->entry);
	char buffer[TEXT_MAX];
	struct text text = {.buffer = buffer, .size = sizeof(buffer)};

	text_event(&text, &shown->entry);
	print_time(trace, process, shown->time);
	if (!process->pid)
		print_line(" %s[%u] %s", process->program, thread, buffer);
	else if (thread == (uint32_t)process->pid)
		print_line(" %s[%d] %s", process->program, (int)process->pid, buffer);
	else
		print_line(" %s[%d/%u] %s", process->program, (int)process->pid, thread, buffer);
}

static int
compare(const void *a, const void *b)
{
	const struct traced_event *left = a, *right = b;

	if (left->entry.ticks != right->entry.ticks)
		return left->entry.ticks < right->entry.ticks ? -1 : 1;
	return left->entry.number < right->entry.number ? -1
							: left->entry.number > right->entry.number;
}

/*
 * Print the events of up to `until`. The processes are looked at one after the other, so what is later
 * waits for what others did before; but only for one round, since processes may lie about the time.
 */
static void
print_events(struct trace *trace, uint64_t until)
{
	struct traced_events *events = &trace->events;
	size_t kept = 0;

	qsort(events->events, events->n, sizeof(*events->events), compare);
	for (size_t i = 0; i < events->n; i++) {
		const struct traced_event *event = &events->events[i];

		if (trace->round == 0 && events->n - i > given.last)
			continue;
		if (event->entry.ticks > until && event->round == trace->round)
			events->events[kept++] = *event;
		else if (trace->cli->json)
			print_json(trace, event);
		else
			print_text(trace, event);
	}
	events->n = kept;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* The clock may be set while we follow. */
static void
compare_clocks(struct trace *trace)
{
	struct timespec real;

	clock_gettime(CLOCK_REALTIME, &real);
	trace->to_real =
		(int64_t)real.tv_sec * (int64_t)NSEC_PER_SEC + real.tv_nsec - (int64_t)clock_now();
}

/* How many processes are still there; -ENOMEM. */
static int
look(struct trace *trace)
{
	int n = 0;

	compare_clocks(trace);
	for (unsigned i = 0; i < trace->n_processes; i++) {
		struct traced *process = &trace->processes[i];

		if (!process->ended && traced_look(process, &trace->events, i, trace->round) < 0)
			return -ENOMEM;
		n += !process->ended;
		if (process->missed > 0)
			note(trace->cli,
				"process %d: %llu events were overwritten before they could be read",
				(int)process->pid, (unsigned long long)process->missed);
		process->missed = 0;
	}
	return n;
}

/* Look again and again, until all have ended, or a signal comes. */
static enum status
follow(struct trace *trace)
{
	struct pollfd end = {.events = POLLIN};
	sigset_t signals;
	int n;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	end.fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (end.fd < 0)
		return fail("cannot wait for signals: %s", strerror(errno));
	do {
		uint64_t until = trace_ticks();

		n = look(trace);
		print_events(trace, n > 0 ? until : UINT64_MAX);
		trace->round++;
	} while (n > 0 && output_failure() == 0 && poll(&end, 1, LOOK_EVERY_MS) == 0);
	return n < 0 ? fail("out of memory") : STATUS_OK;
}

static enum status
once(struct trace *trace)
{
	if (look(trace) < 0)
		return fail("out of memory");
	print_events(trace, UINT64_MAX);
	return STATUS_OK;
}

/* ---- the command ----------------------------------------------------------------------------- */

static enum status
open_processes(struct trace *trace, char *const *operands)
{
	struct ivshmem_error error;
	unsigned pid;

	if (given.core) {
		if (traced_open_core(&trace->processes[0], given.core, &error) < 0)
			return fail("%s", error.message);
		trace->n_processes++;
	}
	for (; !given.core && *operands; operands++) {
		if (parse_uint(*operands, 1, INT_MAX, &pid) < 0) {
			fail("'%s' is no process id", *operands);
			return STATUS_USAGE;
		}
		if (traced_open(&trace->processes[trace->n_processes], (pid_t)pid, &error) < 0)
			return fail("%s", error.message);
		trace->n_processes++;
	}
	return STATUS_OK;
}

static enum status
check_usage(char *const *operands)
{
	if (given.list ? operands[0] || given.core || given.follow
		       : (operands[0] != NULL) == (given.core != NULL)) {
		fail("trace needs the process ids, or --core, or --list: one of them");
		return STATUS_USAGE;
	}
	if (given.core && given.follow) {
		fail("nothing happens any more in a core: leave out --follow");
		return STATUS_USAGE;
	}
	return STATUS_OK;
}

static enum status
trace_run(const struct cli *cli, char *const *operands)
{
	static struct trace trace;
	enum status status = check_usage(operands);

	if (status != STATUS_OK)
		return status;
	if (given.list)
		return list_events(cli);
	trace.cli = cli;
	status = open_processes(&trace, operands);
	if (status == STATUS_OK)
		status = given.follow ? follow(&trace) : once(&trace);
	for (unsigned i = 0; i < trace.n_processes; i++)
		traced_close(&trace.processes[i]);
	free(trace.events.events);
	return status;
}

const struct command command_trace = {
	.name = "trace",
	.operands = "[PID]...",
	.min_operands = 0,
	.max_operands = PROCESSES,
	.summary = "what happened last in a process of ours",
	.description =
		"Prints the last events of processes that are an ivshmem-server, an ivshmem-device, "
		"an ivshmem, or a program with libivshmem or libivshmem-device: each of them keeps "
		"the last 4096. With several processes, the events are merged in the order of time, "
		"so that one sees who rang and who woke up.\n"
		"A line has the time of day, the program, its process id (and the thread, if it is "
		"not the first one), the event and its arguments. What the shared memory holds is "
		"never part of it.\n"
		"The processes need not do anything, and may be stopped or hang. One may look into "
		"one's own processes, and root into all; where kernel.yama.ptrace_scope is set, only "
		"root may.",
	CLI_OPTIONS(trace_options),
	.json = "{\"time\":SECONDS,\"uptime\":SECONDS,\"program\":NAME,\"pid\":PID,\n"
		" \"thread\":TID,\"event\":NAME,\"number\":N,\"args\":{NAME:VALUE,...}}\n"
		"\"time\" is since 1970, \"uptime\" that of CLOCK_MONOTONIC. Errors are names\n"
		"such as \"EPROTO\". \"time\" and \"pid\" are null in a core, \"event\" if this\n"
		"version does not know the event. With --list:\n"
		"{\"event\":NAME,\"number\":N,\"args\":TEXT,\"meaning\":TEXT}.",
	.statuses = "1 also if a process is not there, must not be looked into, or has no trace.",
	.examples = "ivshmem trace $(pidof ivshmem-server)\n"
		    "ivshmem trace --follow 4711 4712\n"
		    "ivshmem trace --core core.4711 --last 20",
	.run = trace_run,
};
