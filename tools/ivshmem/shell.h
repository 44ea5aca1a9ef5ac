/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_SHELL_H
#define IVSHMEM_SHELL_H

#include "session.h"

struct shell {
	struct session *session;
	bool interactive; /* stdin is a terminal */
	bool prompted;    /* the prompt is the last thing on the screen */
	bool ended;       /* by quit or exit */
};

/* Print what the command help prints, as text. */
void shell_print_commands(void);

/* Execute one command, which modifies the line. Prints what went wrong. */
enum status shell_execute(struct shell *shell, char *line);

#endif
