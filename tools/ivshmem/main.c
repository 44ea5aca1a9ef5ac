/* SPDX-License-Identifier: BSD-2-Clause */

/* The program: finds the sub-command, parses its options and runs it, or prints the help. */

#include "cli.h"
#include "help.h"
#include "output.h"

#include <base/fd.h>
#include <common/crash.h>

#include <ivshmem/common.h>
#include <ivshmem/trace.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef IVSHMEM_VERSION
#define IVSHMEM_VERSION "unknown"
#endif

static const struct command *const commands[] = {
	&command_info,
	&command_peers,
	&command_ring,
	&command_wait,
	&command_monitor,
	&command_read,
	&command_write,
	&command_ping,
	&command_echo,
	&command_channels,
	&command_top,
	&command_record,
	&command_plot,
	&command_send,
	&command_recv,
	&command_forward,
	&command_listen,
	&command_agent,
	&command_exec,
	&command_copy,
	&command_format,
	&command_snapshot,
	&command_restore,
	&command_clone,
	&command_bench,
	&command_keeper,
	&command_doctor,
	&command_ctl,
	&command_trace,
	&command_shell,
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* The options that end the command line make arguments_parse() return these. */
enum { GO_ON, PRINT_HELP, PRINT_VERSION };

static struct cli cli = {.connect_timeout_ms = 5000};

static const struct argument global_options[] = {
	{"target", "TARGET", "what to attach to; see Targets above", .letter = 't',
		.text = &cli.target},
	{"json", NULL, "print results as JSON, one document per line; messages stay text on stderr",
		.letter = 'j', .flag = &cli.json},
	{"backend", "NAME",
		"how to use a PCI device: kernel (our driver), vfio, or sysfs (without interrupts); the default depends on the driver that the device is bound to",
		.text = &cli.backend, .choices = "kernel|vfio|sysfs"},
	/* The library takes 0 as its default. */
	{"connect-timeout", "SECONDS",
		"how long the server may take to finish its greeting (default: 5)",
		.ms = &cli.connect_timeout_ms, .min = 1, .max = TIME_DAY},
	{"wait", "SECONDS",
		"how long to wait for a server or shared memory that is not there yet (default: 0)",
		.ns = &cli.wait, .max = TIME_YEAR},
	{"quiet", NULL,
		"print no notes on stderr, such as our id while waiting; errors are still printed",
		.letter = 'q', .flag = &cli.quiet},
	{"verbose", NULL, "print on stderr what the library does", .letter = 'v',
		.flag = &cli.verbose},
	{"help", NULL, "print the help and end", .letter = 'h', .ends = PRINT_HELP},
	{"version", NULL, "print the version and end", .ends = PRINT_VERSION},
};

#define N_GLOBAL ((unsigned)(sizeof(global_options) / sizeof(global_options[0])))

static enum status
usage_status(const struct command *command)
{
	return command && command->own_failure ? (enum status)command->own_failure : STATUS_USAGE;
}

static enum status
fail_usage(const struct command *command)
{
	if (command)
		fprintf(stderr, "Try \"ivshmem %s --help\".\n", command->name);
	else
		fprintf(stderr, "Try \"ivshmem --help\".\n");
	return usage_status(command);
}

/* Returns what arguments_parse() does. Without a command, the first operand is its name. */
static int
parse_options(const struct command *command, int argc, char **argv)
{
	bool until_operand = !command || command->runs_program;
	struct argument options[ARGUMENTS_MAX];
	unsigned n = command ? command->n_options : 0;
	struct ivshmem_error error;
	bool usage;
	int r;

	memcpy(options, global_options, sizeof(global_options));
	if (n > 0)
		memcpy(options + N_GLOBAL, command->options, n * sizeof(options[0]));
	r = arguments_parse(argc, argv, options, N_GLOBAL + n, until_operand, &usage, &error);
	if (r < 0) {
		fail("%s", error.message);
		fail_usage(command);
	}
	return r;
}

/* Options may come before and after the first operand. The next one begins a program. */
static int
parse_around_operand(const struct command *command, int argc, char **argv)
{
	int r = parse_options(command, argc, argv);
	int first = optind;

	if (r != GO_ON || first >= argc)
		return r;
	r = parse_options(command, argc - first, argv + first);
	if (r == GO_ON) {
		optind += first - 1;
		argv[optind] = argv[first];
	}
	return r;
}

static int
parse_command(const struct command *command, int argc, char **argv)
{
	if (command->runs_program)
		return parse_around_operand(command, argc, argv);
	return parse_options(command, argc, argv);
}

static enum status
run_command(const struct command *command, int n_operands, char *const *operands)
{
	enum status status;

	if (n_operands < command->min_operands) {
		fail("%s needs %s", command->name, command->operands);
		return fail_usage(command);
	}
	if (n_operands > command->max_operands) {
		fail("'%s' is one operand too many: the command is %s%s%s",
			operands[command->max_operands], command->name,
			command->operands[0] ? " " : "", command->operands);
		return fail_usage(command);
	}
	status = command->run(&cli, operands);
	if (status == STATUS_USAGE && !command->own_failure)
		fail_usage(command);
	return status;
}

/* Whether the program was started under this name. */
static bool
is_called(const char *program, const char *name)
{
	const char *slash = strrchr(program, '/');

	return strcmp(slash ? slash + 1 : program, name) == 0;
}

static const struct command *
find_command(const char *name)
{
	for (unsigned i = 0; i < N_COMMANDS; i++)
		if (strcmp(name, commands[i]->name) == 0)
			return commands[i];
	return NULL;
}

/* The whole command line. Returns what arguments_parse() does, or -EINVAL after a message; `argv` is
 * that of the command afterwards. */
static int
parse_all(int *argc, char ***argv, const struct command **ret_command)
{
	int r;

	if (is_called(*argv[0], "ivshmem-agent")) {
		*ret_command = &command_agent;
		return parse_command(*ret_command, *argc, *argv);
	}
	r = parse_options(NULL, *argc, *argv);
	if (r != GO_ON)
		return r;
	*argc -= optind;
	*argv += optind;
	if (*argc == 0) {
		fail("a command is missing");
		fail_usage(NULL);
		return -EINVAL;
	}
	*ret_command = find_command(*argv[0]);
	if (*ret_command)
		return parse_command(*ret_command, *argc, *argv);
	/* People try "ivshmem help", too. */
	if (strcmp(*argv[0], "help") == 0)
		return PRINT_HELP;
	fail("unknown command '%s'", *argv[0]);
	fail_usage(NULL);
	return -EINVAL;
}

/* The end of the program. A result that could not be written is a failure. */
static int
finish(enum status status)
{
	int r = output_flush();

	if (r < 0) {
		if (r != -EPIPE)
			fail("cannot write to stdout: %s", strerror(-r));
		if (status == STATUS_OK)
			status = STATUS_FAILURE;
	}
	return (int)status;
}

int
main(int argc, char **argv)
{
	const struct command *command = NULL;
	int r;

	if (fd_open_standard() < 0)
		return STATUS_FAILURE;
	setvbuf(stderr, NULL, _IOLBF, 0);
	/* Output beyond RLIMIT_FSIZE is an error like a full disk, which we report. */
	signal(SIGXFSZ, SIG_IGN);
	fd_raise_limit();
	crash_watch("ivshmem", NULL, ivshmem_trace_dump);

	r = parse_all(&argc, &argv, &command);
	if (r < 0)
		return (int)usage_status(command);
	if (r == PRINT_VERSION)
		print_line("ivshmem %s", IVSHMEM_VERSION);
	else if (r == PRINT_HELP && command)
		help_command(command, global_options, N_GLOBAL);
	else if (r == PRINT_HELP)
		help_program(commands, N_COMMANDS, global_options, N_GLOBAL);
	else if (command)
		return finish(run_command(command, argc - optind, argv + optind));
	return finish(STATUS_OK);
}
