/* SPDX-License-Identifier: BSD-2-Clause */
#include "ctl/ask.h"

#include "plot/json_in.h"

#include <base/clock.h>
#include <base/error.h>
#include <base/fd.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A line for each of the most peers that there can be takes less. */
#define ANSWER_MAX ((size_t)64 << 20)

static int
fail_connect(const char *path, int code, struct ivshmem_error *reterr)
{
	if (code == -ENOENT)
		return error_set(reterr, code,
			"there is no control socket '%s': start the server with --control-socket, or name another one",
			path);
	if (code == -ECONNREFUSED)
		return error_set(reterr, code,
			"nobody listens on '%s': what made this socket has ended; start it again",
			path);
	if (code == -EACCES)
		return error_set(reterr, code,
			"you may not connect to '%s': only the user of the server and root may",
			path);
	if (code == -EAGAIN)
		return error_set(reterr, -ETIMEDOUT,
			"'%s' does not accept us: too many others wait there already", path);
	return error_set(reterr, code, "cannot connect to '%s': %s", path, strerror(-code));
}

static int
open_connection(const char *path, struct ivshmem_error *reterr)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_fd_cleanup_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_set(reterr, -errno, "cannot create a socket: %s", strerror(errno));
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(reterr, -ENAMETOOLONG,
			"the path of the control socket is too long (at most %zu bytes): '%s'",
			sizeof(address.sun_path) - 1, path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return fail_connect(path, -errno, reterr);
	return fd_take(&fd);
}

/* Read until the other side closes. */
static int
receive(int fd, uint64_t deadline, FILE *out)
{
	char bytes[16384];
	size_t length = 0;

	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&poll_fd, 1, (int)clock_left_ms(deadline)) == 0)
			return -ETIMEDOUT;
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0)
			return length > 0 ? 0 : -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		length += (size_t)n;
		if (length > ANSWER_MAX)
			return -EFBIG;
		fwrite(bytes, 1, (size_t)n, out);
	}
}

int
ask(const char *path, const char *line, unsigned timeout_ms, char **ret_answer, size_t *ret_length,
	struct ivshmem_error *reterr)
{
	_fd_cleanup_ int fd = open_connection(path, reterr);
	uint64_t deadline = clock_deadline((int)timeout_ms);
	char request[512], *answer = NULL;
	int length = snprintf(request, sizeof(request), "%s\n", line), r;
	FILE *out;

	if (fd < 0)
		return fd;
	if (length >= (int)sizeof(request))
		return error_set(reterr, -EINVAL, "the request is too long: '%.40s...'", line);
	out = open_memstream(&answer, ret_length);
	if (!out)
		return error_set(reterr, -ENOMEM, "out of memory");
	/* The socket is new and has room for it. If the other side is gone, there is no answer. */
	send(fd, request, (size_t)length, MSG_NOSIGNAL);
	r = receive(fd, deadline, out);
	if (fclose(out) == EOF && r == 0)
		r = -ENOMEM;
	if (r == 0) {
		*ret_answer = answer;
		return 0;
	}
	free(answer);
	if (r == -ETIMEDOUT)
		return error_set(reterr, r,
			"'%s' did not answer in time: is its process stopped, or is this no control socket?",
			path);
	return error_set(reterr, r, "no answer from '%s': %s", path, strerror(-r));
}

bool
ask_is_refusal(const char *answer, size_t length, char *ret_sentence, size_t size)
{
	struct json_in in = json_in(answer, length);
	bool first = true;
	char key[16];

	return json_in_take(&in, '{') && json_in_key(&in, &first, key, sizeof(key)) == 1 &&
	       strcmp(key, "error") == 0 && json_in_string(&in, ret_sentence, size);
}
