/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_LINES_H
#define IVSHMEM_LINES_H

/*
 * The shell's input: bytes go in, commands come out. A newline, CR, NUL or semicolon ends a command.
 * A command that begins with # is a comment: a semicolon does not end it, and it is left out.
 */

#include <stdbool.h>
#include <stddef.h>

#define LINES_LENGTH_MAX ((size_t)1024 * 1024)

struct lines {
	char *buffer;
	size_t start, end; /* of what was read and not handed out */
	size_t capacity;
	bool at_end;   /* of the input */
	bool skipping; /* the rest of a comment, or of a command that was too long */
	bool comment;  /* it is a comment that we skip */
};

void lines_free(struct lines *lines);

/* Read once, which blocks if nothing is there. Sets lines->at_end at the end. 0, or a negative
 * errno. */
int lines_fill(struct lines *lines, int fd);

/*
 * Get the next command, which ends with a NUL and is valid until the next call of either function.
 * Returns 1, 0 if there is none without reading more, or -EMSGSIZE once for a command that is too
 * long and is left out.
 */
int lines_next(struct lines *lines, char **ret_line);

#endif
