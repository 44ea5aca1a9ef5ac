/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_HELP_H
#define IVSHMEM_HELP_H

#include "cli.h"

#include <stddef.h>

/* Print to stdout what --help shows, for the program and for one command. */
void help_program(const struct command *const *commands, size_t n_commands,
	const struct argument *options, unsigned n_options);
void help_command(
	const struct command *command, const struct argument *global_options, unsigned n_global);

#endif
