/* SPDX-License-Identifier: BSD-2-Clause */

/* ivshmem, the command line: finds the sub-command, takes its options apart, prints the help. */

#include "cli.h"
#include "help.h"
#include "output.h"
#include "values.h"

#include <base/clock.h>
#include <base/fd.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	&command_shell,
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

enum {
	GLOBAL_TARGET,
	GLOBAL_JSON,
	GLOBAL_BACKEND,
	GLOBAL_CONNECT_TIMEOUT,
	GLOBAL_WAIT,
	GLOBAL_QUIET,
	GLOBAL_VERBOSE,
	GLOBAL_HELP,
	GLOBAL_VERSION,
	N_GLOBAL,
};

static const struct cli_option global_options[N_GLOBAL] = {
	[GLOBAL_TARGET] = {'t', "target", "TARGET", "what to attach to, see above"},
	[GLOBAL_JSON] = {'j', "json", NULL,
		"print results as JSON, one document per line; messages stay text on stderr"},
	[GLOBAL_BACKEND] = {0, "backend", "NAME",
		"for a PCI device: vfio (interrupts) or sysfs (none); default: by the driver it is bound to"},
	[GLOBAL_CONNECT_TIMEOUT] = {0, "connect-timeout", "SECONDS",
		"how long the server may take to greet us (default: 5)"},
	[GLOBAL_WAIT] = {0, "wait", "SECONDS",
		"wait so long for a server, or shared memory, that is not there yet (default: 0)"},
	[GLOBAL_QUIET] = {'q', "quiet", NULL,
		"no notes on stderr that are not errors, such as our id while waiting"},
	[GLOBAL_VERBOSE] = {'v', "verbose", NULL, "say on stderr what the library does"},
	[GLOBAL_HELP] = {'h', "help", NULL, "print the help and end"},
	[GLOBAL_VERSION] = {0, "version", NULL, "print the version and end"},
};

/* Values of getopt_long() for the options of a command and for the global ones. */
#define OPTION_COMMAND 256
#define OPTION_GLOBAL  (OPTION_COMMAND + CLI_OPTIONS_MAX)

#define TABLE_MAX (CLI_OPTIONS_MAX + N_GLOBAL)

struct option_table {
	struct option longs[TABLE_MAX + 1];
	char shorts[3 + 2 * TABLE_MAX];
	int letter_values[128]; /* what a short option means */
};

static void
table_add(struct option_table *table, const struct cli_option *options, unsigned n, int first)
{
	struct option *next = table->longs;
	char *letter = table->shorts + strlen(table->shorts);

	while (next->name)
		next++;
	for (unsigned i = 0; i < n; i++, next++) {
		next->name = options[i].name;
		next->has_arg = options[i].argument ? required_argument : no_argument;
		next->val = first + (int)i;
		if (!options[i].letter)
			continue;
		table->letter_values[(unsigned char)options[i].letter & 0x7f] = first + (int)i;
		*letter++ = options[i].letter;
		if (options[i].argument)
			*letter++ = ':';
	}
}

static enum status
fail_usage(const struct command *command)
{
	if (command)
		fprintf(stderr, "Try \"ivshmem %s --help\".\n", command->name);
	else
		fprintf(stderr, "Try \"ivshmem --help\".\n");
	return STATUS_USAGE;
}

/* getopt_long() returned '?' or ':': say what it did not like. */
static enum status
fail_option(
	const struct command *command, const struct option_table *table, int result, char **argv)
{
	const char *given = argv[optind > 0 ? optind - 1 : 0];
	const struct option *option = table->longs;

	while (option->name && option->val != optopt)
		option++;
	if (optopt == 0)
		fail("unknown option '%s'", given);
	else if (option->name && result == ':')
		fail("option '--%s' needs an argument", option->name);
	else if (option->name)
		fail("option '--%s' takes no argument", option->name);
	else if (result == ':')
		fail("option '-%c' needs an argument", optopt);
	else
		fail("unknown option '-%c'", optopt);
	return fail_usage(command);
}

enum parsed { PARSED_GO_ON, PARSED_HELP, PARSED_VERSION, PARSED_WRONG };

static enum parsed
global_option(struct cli *cli, int option, const char *argument)
{
	uint64_t timeout;

	switch (option) {
	case GLOBAL_TARGET:
		cli->target = argument;
		return PARSED_GO_ON;
	case GLOBAL_JSON:
		cli->json = true;
		return PARSED_GO_ON;
	case GLOBAL_BACKEND:
		if (strcmp(argument, "vfio") != 0 && strcmp(argument, "sysfs") != 0) {
			fail("--backend '%s' is neither vfio nor sysfs", argument);
			return PARSED_WRONG;
		}
		cli->backend = argument;
		return PARSED_GO_ON;
	case GLOBAL_CONNECT_TIMEOUT:
		if (value_duration("--connect-timeout", argument, &timeout) < 0)
			return PARSED_WRONG;
		/* The library takes 0 as its default. */
		timeout /= NSEC_PER_MSEC;
		if (timeout == 0 || timeout > 86400000) {
			fail("--connect-timeout '%s' is not between 0.001 and a day", argument);
			return PARSED_WRONG;
		}
		cli->connect_timeout_ms = (unsigned)timeout;
		return PARSED_GO_ON;
	case GLOBAL_WAIT:
		return value_duration("--wait", argument, &cli->wait) < 0 ? PARSED_WRONG
									  : PARSED_GO_ON;
	case GLOBAL_QUIET:
		cli->quiet = true;
		return PARSED_GO_ON;
	case GLOBAL_VERBOSE:
		cli->verbose = true;
		return PARSED_GO_ON;
	case GLOBAL_HELP:
		return PARSED_HELP;
	case GLOBAL_VERSION:
		return PARSED_VERSION;
	default:
		return PARSED_WRONG;
	}
}

/* Take options from argv, starting at optind; `arguments` may be NULL while there is no command
 * yet. */
static enum parsed
parse_options(struct cli *cli, const struct command *command, struct cli_arguments *arguments,
	int argc, char **argv)
{
	struct option_table table = {.shorts = ""};
	enum parsed parsed;
	int result;

	/* Without a command, stop at the first operand, which is its name. */
	snprintf(table.shorts, sizeof(table.shorts), "%s", command ? ":" : "+:");
	table_add(&table, global_options, N_GLOBAL, OPTION_GLOBAL);
	if (command)
		table_add(&table, command->options, command->n_options, OPTION_COMMAND);

	opterr = 0;
	while ((result = getopt_long(argc, argv, table.shorts, table.longs, NULL)) != -1) {
		if (result == '?' || result == ':') {
			fail_option(command, &table, result, argv);
			return PARSED_WRONG;
		}
		if (result < OPTION_COMMAND)
			result = table.letter_values[result & 0x7f];
		if (result >= OPTION_GLOBAL) {
			parsed = global_option(cli, result - OPTION_GLOBAL, optarg ? optarg : "");
			if (parsed == PARSED_WRONG)
				fail_usage(command);
			if (parsed != PARSED_GO_ON)
				return parsed;
		} else if (arguments) {
			arguments->option[result - OPTION_COMMAND] = optarg ? optarg : "";
		}
	}
	return PARSED_GO_ON;
}

static enum status
run_command(struct cli *cli, const struct command *command, const struct cli_arguments *arguments)
{
	enum status status;

	if (arguments->n_operands < command->min_operands) {
		fail("%s needs %s", command->name, command->operands);
		return fail_usage(command);
	}
	if (arguments->n_operands > command->max_operands) {
		fail("'%s' is one operand too many: the command is %s%s%s",
			arguments->operand[command->max_operands], command->name,
			command->operands[0] ? " " : "", command->operands);
		return fail_usage(command);
	}
	status = command->run(cli, arguments);
	if (status == STATUS_USAGE)
		fail_usage(command);
	return status;
}

/* The end of the program: a result that could not be written is no success. */
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
	struct cli cli = {.connect_timeout_ms = 5000};
	struct cli_arguments arguments = {.n_operands = 0};
	const struct command *command = NULL;
	enum parsed parsed;

	if (fd_open_standard() < 0)
		return STATUS_FAILURE;
	setvbuf(stderr, NULL, _IOLBF, 0);
	/* Output that exceeds RLIMIT_FSIZE is an error like a full disk, and told. */
	signal(SIGXFSZ, SIG_IGN);
	fd_raise_limit();

	parsed = parse_options(&cli, NULL, NULL, argc, argv);
	if (parsed == PARSED_GO_ON && optind == argc) {
		fail("a command is missing");
		return (int)fail_usage(NULL);
	}
	if (parsed == PARSED_GO_ON) {
		const char *name = argv[optind];

		for (unsigned i = 0; i < N_COMMANDS && !command; i++) {
			if (strcmp(name, commands[i]->name) == 0)
				command = commands[i];
		}
		/* "ivshmem help" is what people try. */
		if (!command && strcmp(name, "help") == 0) {
			parsed = PARSED_HELP;
		} else if (!command) {
			fail("unknown command '%s'", name);
			return (int)fail_usage(NULL);
		}
	}
	if (command) {
		argc -= optind;
		argv += optind;
		optind = 0; /* makes getopt start afresh; argv[0] is the command's name */
		parsed = parse_options(&cli, command, &arguments, argc, argv);
	}

	switch (parsed) {
	case PARSED_WRONG:
		return STATUS_USAGE;
	case PARSED_VERSION:
		print_line("ivshmem %s", IVSHMEM_VERSION);
		return finish(STATUS_OK);
	case PARSED_HELP:
		if (command)
			help_command(command, global_options, N_GLOBAL);
		else
			help_program(commands, N_COMMANDS, global_options, N_GLOBAL);
		return finish(STATUS_OK);
	case PARSED_GO_ON:
		break;
	}
	arguments.operand = argv + optind;
	arguments.n_operands = argc - optind;
	return finish(run_command(&cli, command, &arguments));
}
