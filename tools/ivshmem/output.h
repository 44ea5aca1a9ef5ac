/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_OUTPUT_H
#define IVSHMEM_OUTPUT_H

/*
 * Results go to stdout. It is flushed after each piece, so a reader at the other end of a pipe sees it
 * at once. Everything else goes to stderr, as lines that begin with "ivshmem: ".
 */

#include "cli.h"

#include <stddef.h>

/* Print an error message, a whole sentence without full stop and newline. Returns STATUS_FAILURE. */
enum status fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Print something worth knowing that is not a result, unless --quiet is given. */
void note(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Print a line of text to stdout, append a newline, and flush it. */
void print_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * The first error of writing to stdout, or 0. Ask right after something was printed: later, stdio still
 * knows that writing failed, but not why.
 */
int output_failure(void);

/* Flush stdout. Returns what output_failure() does. */
int output_flush(void);

/*
 * Print text from the shared memory, where any peer may have put it. To protect a terminal, it shows
 * control characters other than newline and tab as \xNN.
 */
void print_foreign_text(const char *text, size_t length);

/* The same for a message: into a buffer, without any control character, and as much as there is room
 * for. Returns `buffer`. */
char *foreign_text(const char *text, size_t length, char *buffer, size_t size);

/* "1 vector", "2 vectors". Returns `buffer`. */
#define VECTORS_TEXT_MAX 32
char *vectors_text(unsigned vectors, char buffer[VECTORS_TEXT_MAX]);

/* "12 bytes/s", "3.4 KiB/s", "5.6 GiB/s". Returns `buffer`. */
#define RATE_TEXT_MAX 32
char *rate_text(double bytes_per_second, char buffer[RATE_TEXT_MAX]);

#endif
