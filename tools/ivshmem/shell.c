/* SPDX-License-Identifier: BSD-2-Clause */
#include "shell.h"

#include "event_print.h"
#include "lines.h"
#include "output.h"

#include <base/clock.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
	bool exit_on_error;
	uint64_t interval;
} given = {.interval = NSEC_PER_SEC};

static void
show_prompt(struct shell *shell)
{
	if (!shell->interactive || shell->prompted || shell->session->cli->json)
		return;
	fputs("ivshmem> ", stdout);
	output_flush();
	shell->prompted = true;
}

/* Leave the line of the prompt, before something else is printed. */
static void
leave_prompt(struct shell *shell)
{
	if (!shell->prompted)
		return;
	fputs(isatty(STDOUT_FILENO) ? "\r\033[K" : "\n", stdout);
	shell->prompted = false;
}

static void
print_event(struct session *session, const struct event *event)
{
	leave_prompt(session->data);
	event_print(session, event, false);
}

/* Whether a signal ends the shell. On a terminal, SIGINT only ends the running command, if there is
 * one. */
static bool
ends_shell(struct shell *shell, bool command_was_running)
{
	if (!shell->session->quit)
		return false;
	if (!shell->interactive || !command_was_running || shell->session->quit != SIGINT)
		return true;
	shell->session->quit = 0;
	return false;
}

/* Execute what was read. Returns whether the shell goes on; if not, *ret_status is its exit code. */
static bool
execute_lines(struct shell *shell, struct lines *lines, enum status *ret_status)
{
	enum status status;
	char *line;
	int r;

	*ret_status = STATUS_OK;
	while ((r = lines_next(lines, &line)) != 0) {
		/* Report between commands, too, what is going on. */
		if (session_step(shell->session, -1, 0) & SESSION_QUIT)
			return false;
		if (r < 0)
			status = fail(
				"a command of more than %zu bytes was left out", LINES_LENGTH_MAX);
		else
			status = shell_execute(shell, line);
		if (output_flush() < 0) {
			*ret_status = STATUS_FAILURE;
			return false;
		}
		if (shell->ended || ends_shell(shell, true))
			return false;
		if (status != STATUS_OK && given.exit_on_error) {
			*ret_status = status == STATUS_TIMEOUT ? STATUS_TIMEOUT : STATUS_FAILURE;
			return false;
		}
	}
	return true;
}

static enum status
run_shell(struct shell *shell, struct lines *lines)
{
	/* Report those who were there before us before the first prompt. */
	if (session_step(shell->session, -1, 0) & SESSION_QUIT)
		return STATUS_OK;
	for (;;) {
		enum status status;
		unsigned wake;
		int r;

		if (!execute_lines(shell, lines, &status))
			return status;
		if (lines->at_end)
			return STATUS_OK;
		show_prompt(shell);
		wake = session_step(shell->session, STDIN_FILENO, SESSION_FOREVER);
		if (output_flush() < 0)
			return STATUS_FAILURE;
		if (wake & SESSION_QUIT)
			return STATUS_OK;
		if (!(wake & SESSION_INPUT))
			continue;
		r = lines_fill(lines, STDIN_FILENO);
		/* We are in the background of a terminal, or the terminal went away. */
		if (r == -EIO || r == -EBADF)
			return STATUS_OK;
		if (r < 0)
			return fail("cannot read stdin: %s", strerror(-r));
		/* The terminal shows the newline that was typed. */
		if (!lines->at_end)
			shell->prompted = false;
	}
}

static const struct argument shell_options[] = {
	{"exit-on-error", NULL,
		"end at the first command that fails, with exit code 1, or 3 if it timed out",
		.letter = 'e', .flag = &given.exit_on_error},
	{"reconnect-interval", "SECONDS",
		"the shortest time between two attempts to attach (default: 1)",
		.ns = &given.interval, .min = 1, .max = TIME_YEAR},
};

static enum status
shell_run(const struct cli *cli, char *const *operands)
{
	/* Declared before the session, so that it outlives it: the session's end may still report
	 * something. */
	struct shell shell = {.interactive = isatty(STDIN_FILENO)};
	_session_free_ struct session *session = session_new();
	struct lines lines = {.buffer = NULL};
	enum status status;

	(void)operands;
	if (!session)
		return STATUS_FAILURE;
	shell.session = session;
	session->data = &shell;
	status = session_open(session, cli, print_event, true, STATUS_OK);
	if (status != STATUS_OK)
		return status;
	session->reattach = !session->is_pci;
	session->reattach_interval = given.interval;

	status = run_shell(&shell, &lines);
	if (shell.prompted)
		putchar('\n');
	lines_free(&lines);
	return status;
}

const struct command command_shell = {
	.name = "shell",
	.operands = "",
	.summary = "commands from stdin, by hand or from a script",
	.description =
		"Attaches once and executes commands from stdin, separated by newline, carriage "
		"return or semicolon. Meanwhile it prints events as monitor does. It understands the "
		"commands of QEMU's ivshmem-client, and more, see below. The prompt appears only if "
		"stdin is a terminal. The shell ends at the end of its input.\n"
		"When the server is lost, the shell attaches again, with a new id, as soon as a "
		"server is there. Until then, what it knows of the old group goes on working.\n"
		"SIGTERM ends the shell at once, also in the middle of wait, ping or echo. So does "
		"SIGINT, but on a terminal it only ends the command that is running, if there is "
		"one.",
	.print_more = shell_print_commands,
	CLI_OPTIONS(shell_options),
	.json = EVENT_JSON_HELP
	"\n"
	"Commands print what the commands of the same names print with --json; also\n"
	"text: {\"offset\":O,\"length\":L,\"text\":TEXT}\n"
	"counts: {\"received\":[COUNT-OF-VECTOR-0,...]}\n"
	"say: {\"say\":TEXT}",
	.statuses =
		"0 at the end of the input, after quit and after a signal, even if commands failed, unless -e was given.",
	.examples =
		"ivshmem shell\n"
		"printf 'write 0 hello\\nint all\\nwait any 1 10\\ntext 64\\n' | ivshmem shell -e",
	.run = shell_run,
};
