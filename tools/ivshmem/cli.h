/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_CLI_H
#define IVSHMEM_CLI_H

/*
 * What every part of the tool knows: the global options, the description of a sub-command, and the
 * exit codes. main.c parses the command line by these descriptions and prints the help from them, so
 * no option can exist without a help text.
 */

#include <common/arguments.h>

#include <stdbool.h>
#include <stdint.h>

/* What a command returns, which becomes the exit code of the program. */
enum status {
	STATUS_OK = 0,
	STATUS_FAILURE = 1, /* a message was written to stderr */
	STATUS_USAGE = 2,
	STATUS_TIMEOUT = 3,
};

/* The global options. */
struct cli {
	const char *target;  /* --target, NULL: choose one (target.h) */
	const char *backend; /* --backend, NULL: let the library choose */
	unsigned connect_timeout_ms;
	uint64_t wait; /* nanoseconds, for a server that is not there yet */
	bool json;
	bool quiet;
	bool verbose;
};

struct command {
	const char *name;
	const char *operands; /* as the help shows them, "" if there are none */
	int min_operands, max_operands;
	const char *summary;     /* half a line, for the list of commands */
	const char *description; /* paragraphs, with a newline between them */
	/* Their values go to variables of the command's file: there is one command line. */
	const struct argument *options;
	unsigned n_options;
	void (*print_more)(void); /* prints what follows the description; may be NULL */
	const char *json;         /* what --json prints, one line per form */
	const char *statuses;     /* exit codes beyond the usual, or what they mean here */
	const char *examples;     /* one command per line */
	/* The exit code for wrong usage and failures, if the usual ones have another meaning; else 0. */
	int own_failure;
	/* The second operand is a program, and what follows belongs to it, options too. */
	bool runs_program;
	/* `operands` has as many as are allowed, and ends with NULL. */
	enum status (*run)(const struct cli *cli, char *const *operands);
};

#define CLI_OPTIONS(array) .options = (array), .n_options = sizeof(array) / sizeof((array)[0])

extern const struct command command_info;
extern const struct command command_peers;
extern const struct command command_ring;
extern const struct command command_wait;
extern const struct command command_monitor;
extern const struct command command_read;
extern const struct command command_write;
extern const struct command command_ping;
extern const struct command command_echo;
extern const struct command command_channels;
extern const struct command command_top;
extern const struct command command_record;
extern const struct command command_plot;
extern const struct command command_send;
extern const struct command command_recv;
extern const struct command command_forward;
extern const struct command command_listen;
extern const struct command command_agent;
extern const struct command command_exec;
extern const struct command command_copy;
extern const struct command command_format;
extern const struct command command_snapshot;
extern const struct command command_restore;
extern const struct command command_clone;
extern const struct command command_bench;
extern const struct command command_keeper;
extern const struct command command_doctor;
extern const struct command command_ctl;
extern const struct command command_trace;
extern const struct command command_shell;

#endif
