/* SPDX-License-Identifier: BSD-2-Clause */
#include "greeting.h"

#include <base/parse.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORD "CONNECT "

static int
parse(struct greeting *greeting, uint32_t *ret_port)
{
	uint64_t port;

	if (strncmp(greeting->text, WORD, strlen(WORD)) != 0 ||
		parse_u64(greeting->text + strlen(WORD), 0, UINT32_MAX, &port) < 0)
		return -EPROTO;
	*ret_port = (uint32_t)port;
	return 0;
}

int
greeting_read(struct greeting *greeting, int fd, uint32_t *ret_port)
{
	while (greeting->length < GREETING_MAX - 1) {
		char *end = greeting->text + greeting->length;
		/* What follows belongs to somebody else. */
		ssize_t n = read(fd, end, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		if (*end == '\n') {
			*end = 0;
			return parse(greeting, ret_port);
		}
		greeting->length++;
	}
	return -EPROTO;
}

int
greeting_answer(int fd, uint64_t number)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "OK %" PRIu64 "\n", number);

	/* A new connection has room for that. */
	return write(fd, text, (size_t)length) == length ? 0 : -EPIPE;
}
