/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_OUTPUT_H
#define IVSHMEM_OUTPUT_H

/*
 * Results go to stdout, which is flushed after each piece so that a reader at the other end of a
 * pipe sees it at once. Everything else goes to stderr, as lines that begin with "ivshmem: ".
 */

#include "cli.h"

#include <stddef.h>

/* An error message, a whole sentence without full stop and newline. Returns STATUS_FAILURE. */
enum status fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Something worth knowing that is not a result; silent with --quiet. */
void note(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line of text to stdout, complete with newline, flushed. */
void print_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * What writing to stdout failed with, once and for all, or 0. To be asked right after something was
 * printed: stdio knows later that it failed, but not why.
 */
int output_failure(void);

/* Flush stdout; -EIO or what the write failed with, once and for all. */
int output_flush(void);

/*
 * Text that came out of the shared memory, where any peer may have put it. A terminal is protected:
 * there, control characters other than newline and tab are shown as \xNN.
 */
void print_foreign_text(const char *text, size_t length);

/* "1 vector", "2 vectors". Returns `buffer`. */
#define VECTORS_TEXT_MAX 32
char *vectors_text(unsigned vectors, char buffer[VECTORS_TEXT_MAX]);

#endif
