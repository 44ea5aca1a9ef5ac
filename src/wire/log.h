/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WIRE_LOG_H
#define WIRE_LOG_H

/*
 * What a server has said, in shared memory, so that another process can take it in once more: one
 * that shares our memory and our descriptors, and goes on when we were killed.
 *
 * Theory of operation
 *
 * Each read of the connection becomes a row: its bytes, and the number of the descriptor that came
 * with them. A process that takes over reads the rows first, through the same code, and so comes to
 * know all that was known. Then it goes on with the socket.
 *
 * The kernel notes in the header of recvmmsg() how much came, within the system call. A process
 * cannot be killed in between. So whatever left the socket is a row, or is in the header that the
 * next row is made from. There are two headers in turn, and one word says how many rows there are
 * and which header is next: a row is there as a whole or not at all.
 *
 * A row keeps the number of a descriptor only while it is open (wire_log_forget()). Whoever reads
 * the row afterwards gets an eventfd that nobody else has in its place: what came after it, a leave
 * for instance, makes it go again.
 *
 * When there is no room left, rows of peers that have left are dropped.
 */

#include <wire/wire.h>

#include <stdbool.h>

struct wire_log;

/* Room for so many rows, in memory that forked processes share. NULL: there is no memory. */
struct wire_log *wire_log_new(unsigned rows);
void wire_log_free(struct wire_log *log);

/* Forget everything. */
void wire_log_reset(struct wire_log *log);

/* A connection begins. Its socket is borrowed. */
void wire_log_begin(struct wire_log *log, int socket);
/* The connection has ended. To be called before its socket is closed. */
void wire_log_end(struct wire_log *log);

/* Whether there is, or was, a connection. */
bool wire_log_has_begun(const struct wire_log *log);
/* Its socket, -1 if it has ended. */
int wire_log_socket(const struct wire_log *log);

/* In a process that takes over: read from the first row on. */
void wire_log_rewind(struct wire_log *log);
/* Whether something was received that this process has not read yet: no event of the socket tells. */
bool wire_log_is_behind(const struct wire_log *log);

/* wire_receive() by way of the log. Also -ECONNRESET when the connection had ended before, and
 * -ENOSPC when the log is full. */
int wire_log_receive(
	struct wire_log *log, struct wire_receiver *receiver, struct wire_message *ret_message);

/* This descriptor is about to be closed. */
void wire_log_forget(struct wire_log *log, int fd);

/* Call `note` for the socket and each descriptor that came through it and is open. */
void wire_log_list(const struct wire_log *log, void (*note)(int fd, void *data), void *data);

#endif
