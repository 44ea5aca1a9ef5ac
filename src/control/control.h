/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

/*
 * A control socket, where operators look at a service and tell it what to do. A client sends one line,
 * gets one answer, and the connection ends. docs/protocol.md describes what travels; `ivshmem ctl` is
 * the usual client.
 *
 * What can be asked for is a table of commands. An answer is written to a stream, which is in memory,
 * so a command never waits for the client.
 *
 * Clients may be as slow or as wrong as they like: each has a few seconds for its line, and each must
 * go on reading its answer; CONTROL_CLIENTS_MAX are served at a time, and others wait in the queue of
 * the socket. A descriptor is kept in reserve, so that operators get in when the process has no other.
 */

#include <control/request.h>

#include <base/list.h>
#include <loop/loop.h>

#include <stdio.h>

struct ivshmem_error;

#define CONTROL_CLIENTS_MAX 8
#define CONTROL_DESCRIPTORS (CONTROL_CLIENTS_MAX + 1) /* that it opens, at most */

/*
 * Writes the answer to `out`: a JSON document and a newline, or another text. Returns 0, or a negative
 * errno and the sentence, which the client gets instead of what was written.
 */
typedef int (*control_answer_fn)(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr);

struct control_command {
	const char *name;
	const char *operands; /* as an error shows them, "" if there are none */
	unsigned min_operands, max_operands;
	control_answer_fn answer;
};

struct control_config {
	struct loop *loop;
	int listen_fd;                          /* borrowed, non-blocking */
	const struct control_command *commands; /* must outlive it */
	unsigned n_commands;
	void *data; /* for the commands */
};

struct control;

/* -ENOMEM and other errors of loop_add(). */
int control_new(struct control **ret_control, const struct control_config *config);
/* Disconnects all clients. Returns NULL. */
struct control *control_free(struct control *control);

/*
 * The answer to a line (without its newline), as a client gets it: it is to be freed, and NULL if there
 * is no memory. For control.c and for tests.
 */
char *control_answer(
	const struct control_config *config, const char *line, size_t length, size_t *ret_length);

/* What operators call whoever listens at `path`: the name of the file, without what says that it is a
 * socket. It is cut off if it does not fit. */
void control_name(const char *path, char *name, size_t size);

#endif
