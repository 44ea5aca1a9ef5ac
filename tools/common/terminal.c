/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/terminal.h>

#include <limits.h>
#include <poll.h>
#include <stdio.h>

void
terminal_write(void *data, enum log_level level, const char *message)
{
	struct terminal *terminal = data;
	int fd = level <= LOG_LEVEL_WARNING ? STDERR_FILENO : STDOUT_FILENO;
	unsigned long *lost = &terminal->lost[fd];
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	char text[PIPE_BUF], note[80] = "";
	int length;

	if (*lost)
		snprintf(note, sizeof(note), "%s: %lu message%s lost\n", terminal->program, *lost,
			*lost == 1 ? " was" : "s were");
	length = snprintf(text, sizeof(text), "%s%s: %s\n", note, terminal->program, message);
	if (length >= (int)sizeof(text))
		length = (int)sizeof(text) - 1;
	/* If poll() calls a pipe writable, it takes PIPE_BUF bytes at once. */
	if (poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) &&
		write(fd, text, (size_t)length) >= 0)
		*lost = 0;
	else
		++*lost;
}
