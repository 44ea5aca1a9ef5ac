/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOCKET_PROCESS_H
#define SOCKET_PROCESS_H

/*
 * Who is at the other end of a UNIX socket, for the log. Process and user are those who connected,
 * as the kernel noted it then. The program is what that process calls itself when we look: a help
 * for whoever reads the log, and no proof of anything.
 */

#include <sys/types.h>

/* What the kernel keeps of a program's name, and its end. */
#define PROCESS_PROGRAM_MAX 16
#define PROCESS_TEXT_MAX    80

struct process {
	pid_t pid; /* 0: unknown, or not to be seen from our PID namespace */
	uid_t uid;
	char program[PROCESS_PROGRAM_MAX]; /* safe to print; "" if unknown */
};

/* Whoever connected to, or from, `socket`. Never fails: what is not to be had stays unknown. */
struct process process_behind(int socket);

/* "process 12, user 1000, program qemu"; user and program only if they are known. Returns `text`. */
const char *process_describe(const struct process *process, char text[PROCESS_TEXT_MAX]);

#endif
