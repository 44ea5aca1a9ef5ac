/* SPDX-License-Identifier: BSD-2-Clause */
#include "lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_SIZE ((size_t)4096)

void
lines_free(struct lines *lines)
{
	free(lines->buffer);
	memset(lines, 0, sizeof(*lines));
}

int
lines_fill(struct lines *lines, int fd)
{
	ssize_t n;

	if (lines->start > 0) {
		memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
		lines->end -= lines->start;
		lines->start = 0;
	}
	/* Leave room for one more byte: the NUL behind a last command without newline. */
	if (lines->capacity - lines->end < READ_SIZE + 1) {
		size_t capacity = lines->capacity ? 2 * lines->capacity : 4 * READ_SIZE;
		char *buffer = realloc(lines->buffer, capacity);

		if (!buffer)
			return -ENOMEM;
		lines->buffer = buffer;
		lines->capacity = capacity;
	}
	n = read(fd, lines->buffer + lines->end, READ_SIZE);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		lines->at_end = true;
	lines->end += (size_t)n;
	return 0;
}

/* The length of the command at `text`; `length` if its end has not been read yet. */
static size_t
command_length(const char *text, size_t length, bool comment)
{
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '\n' || text[i] == '\r' || text[i] == '\0' ||
			(text[i] == ';' && !comment))
			return i;
	}
	return length;
}

static bool
is_comment(const char *text, size_t length)
{
	size_t i = 0;

	while (i < length && (text[i] == ' ' || text[i] == '\t'))
		i++;
	return i < length && text[i] == '#';
}

int
lines_next(struct lines *lines, char **ret_line)
{
	while (lines->start < lines->end) {
		char *start = lines->buffer + lines->start;
		size_t left = lines->end - lines->start;
		bool comment = lines->skipping ? lines->comment : is_comment(start, left);
		size_t length = command_length(start, left, comment);
		bool ended = length < left || lines->at_end;

		if (!ended && length <= LINES_LENGTH_MAX && !lines->skipping && !comment)
			return 0;
		lines->start += length < left ? length + 1 : length;
		if (lines->skipping || comment) {
			lines->skipping = !ended;
			lines->comment = comment;
			continue;
		}
		if (length > LINES_LENGTH_MAX) {
			lines->skipping = !ended;
			lines->comment = false;
			return -EMSGSIZE;
		}
		start[length] = '\0';
		*ret_line = start;
		return 1;
	}
	return 0;
}
