/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_LINES_H
#define IVSHMEM_LINES_H

/*
 * The shell's input: bytes as they come in, commands out, ended by newline, CR, NUL or semicolon.
 * What would be a command that begins with # is a comment, which a semicolon does not end; it is
 * left out.
 */

#include <stdbool.h>
#include <stddef.h>

#define LINES_LENGTH_MAX ((size_t)1024 * 1024)

struct lines {
	char *buffer;
	size_t start, end; /* what was read and not handed out */
	size_t capacity;
	bool at_end;   /* of the input */
	bool skipping; /* the rest of a comment or of a command that was too long ... */
	bool comment;  /* ... the former */
};

void lines_free(struct lines *lines);

/* Read once; blocks if nothing is there. 0, or a negative errno; the end is lines->at_end. */
int lines_fill(struct lines *lines, int fd);

/*
 * The next command, NUL-terminated and valid until the next call of either function. 0 if there is
 * none without reading more, 1, or -EMSGSIZE once for a command that is too long and is left out.
 */
int lines_next(struct lines *lines, char **ret_line);

#endif
