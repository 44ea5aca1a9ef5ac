/* SPDX-License-Identifier: BSD-2-Clause */

/* exec: has an agent run a command. */

#include "call.h"
#include "console.h"

#include "output.h"
#include "participate.h"
#include <agent/records.h>

#include <base/clock.h>
#include <base/error.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VARIABLES_MAX 64

static struct {
	bool tty, no_tty;
	const char *directory;
	const char *variables[VARIABLES_MAX];
	unsigned n_variables;
	uint64_t timeout;
	unsigned vector;
} given;

static int
take_variable(void *to, const char *what, const char *text, struct ivshmem_error *reterr)
{
	(void)to;
	if (!strchr(text, '=') || text[0] == '=')
		return error_set(reterr, -EINVAL, "%s: '%.100s' is not NAME=VALUE", what, text);
	if (given.n_variables == VARIABLES_MAX)
		return error_set(reterr, -EINVAL, "%s can be given %d times", what, VARIABLES_MAX);
	given.variables[given.n_variables++] = text;
	return 0;
}

/* ---- the request ------------------------------------------------------------------------------- */

static void
add_terminal(struct request_draft *draft)
{
	const char *kind = getenv("TERM");
	char text[256];
	uint16_t rows, columns;

	console_size(&rows, &columns);
	snprintf(text, sizeof(text), "%ux%u", rows, columns);
	request_add(draft, "terminal", text);
	snprintf(text, sizeof(text), "TERM=%s", kind ? kind : "dumb");
	request_add(draft, "environment", text);
}

static void
make_request(struct request_draft *draft, char *const *command, bool terminal)
{
	request_begin(draft, "exec");
	for (; *command; command++)
		request_add(draft, "argument", *command);
	if (given.directory)
		request_add(draft, "directory", given.directory);
	if (terminal)
		add_terminal(draft);
	for (unsigned i = 0; i < given.n_variables; i++)
		request_add(draft, "environment", given.variables[i]);
}

static enum status
send_request(struct ivshmem_channel *channel, const char *name, char *const *command, bool terminal)
{
	struct request_draft draft;
	int r;

	make_request(&draft, command, terminal);
	r = request_finish(&draft);
	if (r == 0)
		r = ivshmem_queue_send(channel, draft.bytes, draft.length);
	free(draft.bytes);
	if (r == -EMSGSIZE)
		return fail("the command line and its environment are too long; send what is long "
			    "through stdin");
	return r < 0 ? channel_fail(channel, name, r) : STATUS_OK;
}

/* ---- the command ------------------------------------------------------------------------------- */

static enum status
connect_agent(const struct cli *cli, struct ivshmem_participant *participant, const char *name,
	struct ivshmem_channel **ret_channel)
{
	const struct ivshmem_channel_options options = {.struct_size = sizeof(options)};
	int timeout_ms = (int)(given.timeout / NSEC_PER_MSEC);
	struct ivshmem_error error;
	int r = ivshmem_connect(ret_channel, participant, name, IVSHMEM_QUEUE, &options, 0, &error);

	if (r == -ENOENT && timeout_ms > 0) {
		note(cli, "waiting for an agent under '%s'", name);
		r = ivshmem_connect(ret_channel, participant, name, IVSHMEM_QUEUE, &options,
			timeout_ms, &error);
	}
	if (r == -ENOENT)
		return fail("no agent listens under '%s': start one there with 'ivshmem agent "
			    "--allow exec %s'",
			name, name);
	return r < 0 ? fail("%s", error.message) : STATUS_OK;
}

static bool
wants_terminal(void)
{
	return given.tty || (!given.no_tty && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO));
}

static enum status
exec_run(const struct cli *cli, char *const *operands)
{
	struct ivshmem_participant *participant = NULL;
	struct ivshmem_channel *channel;
	const char *name = operands[0];
	bool terminal = wants_terminal();
	int status = CALL_FAILED;

	if (given.tty && given.no_tty) {
		fail("--tty and --no-tty exclude each other");
		return (enum status)CALL_FAILED;
	}
	if (cli->json) {
		fail("exec and --json exclude each other: stdout is the command's");
		return (enum status)CALL_FAILED;
	}
	if (participate(cli, "ivshmem exec", given.vector, &participant) != STATUS_OK)
		return (enum status)CALL_FAILED;
	if (connect_agent(cli, participant, name, &channel) == STATUS_OK) {
		if (send_request(channel, name, operands + 1, terminal) == STATUS_OK)
			status = call_run(channel, name, terminal);
	}
	participate_no_more(cli, participant);
	return (enum status)status;
}

static const struct argument exec_options[] = {
	{"tty", NULL,
		"give the command a terminal (default: if our stdin and stdout are terminals)",
		.letter = 'p', .flag = &given.tty},
	{"no-tty", NULL, "give it none", .flag = &given.no_tty},
	{"env", "NAME=VALUE", "set a variable for the command; can be given several times",
		.letter = 'e', .take = take_variable},
	{"directory", "DIRECTORY", "where to run it, from the home of its user on (default: there)",
		.letter = 'C', .text = &given.directory, .min = 1},
	{"vector", "V", "be woken on our vector V (default: 0)", .letter = 'V',
		.number = &given.vector, .max = IVSHMEM_MAX_VECTORS - 1},
	{"timeout", "SECONDS", "wait for so long until an agent listens (default: do not wait)",
		.letter = 'w', .ns = &given.timeout, .max = TIME_DAY},
};

const struct command command_exec = {
	.name = "exec",
	.operands = "NAME [COMMAND]...",
	.min_operands = 1,
	.max_operands = 8000,
	.summary = "run a command where ivshmem agent listens under NAME",
	.description =
		"Has the agent that listens under NAME run a command, in a guest or on the host: like "
		"ssh, with neither network nor keys. Our stdin, stdout and stderr are the command's. "
		"Without a command, it is the login shell of the agent's user. What follows the command "
		"belongs to it, options too, and no shell looks at it: for that, run sh -c.\n"
		"If our stdin and stdout are terminals, the command gets a terminal, with the size of "
		"ours; then its stdout and stderr are one. Every key is passed on, Ctrl-C too.\n"
		"SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the command's process group. If the agent "
		"says nothing in the meantime, the third one ends us instead. If we end or die, the "
		"process group gets SIGHUP, and what is left of it after 5 seconds SIGKILL.\n"
		"When the command has ended, what it wrote is passed on, and exec ends. It does not "
		"wait for processes that the command left behind, although they may have its stdout: "
		"what they write later is lost.",
	CLI_OPTIONS(exec_options),
	.statuses =
		"that of the command, or 128 and the number of the signal that it died of; 127 if there "
		"is no such program, 126 if it cannot be run, 125 if exec or the agent failed, with a "
		"message on stderr.",
	.examples = "ivshmem exec agent uptime\n"
		    "ivshmem exec agent\n"
		    "ivshmem exec --env LANG=C --directory /var/log agent -- grep -r error\n"
		    "tar c folder | ivshmem exec agent tar x",
	.own_failure = CALL_FAILED,
	.runs_program = true,
	.run = exec_run,
};
