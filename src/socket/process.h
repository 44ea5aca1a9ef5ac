/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOCKET_PROCESS_H
#define SOCKET_PROCESS_H

/*
 * Which process is at the other end of a UNIX socket, for the log. Process and user are those that
 * connected, as the kernel noted them then. The program is the name that the process has when we
 * look: it helps the reader of the log, but proves nothing.
 */

#include <sys/types.h>

/* The length of a program's name in the kernel, with its end. */
#define PROCESS_PROGRAM_MAX 16
#define PROCESS_TEXT_MAX    80

struct process {
	pid_t pid; /* 0: unknown, or not visible in our PID namespace */
	uid_t uid;
	char program[PROCESS_PROGRAM_MAX]; /* safe to print; "" if unknown */
};

/* The process that connected to, or from, `socket`. Never fails: what nobody can tell stays
 * unknown. */
struct process process_behind(int socket);

/* The groups of the process that connected to, or from, `socket`, as the kernel noted them then, the
 * first one included. The array is allocated. Returns how many, or -ENOMEM or another errno. */
int process_groups(int socket, gid_t **ret_groups);

/* "process 12, user 1000, program qemu"; user and program only if they are known. Returns `text`. */
const char *process_describe(const struct process *process, char text[PROCESS_TEXT_MAX]);

#endif
