/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/supervisor.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/parse.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define FIRST_SOCKET 3

/* READY=1 must not be lost because the supervisor is busy, and must not stop us for ever. */
#define NOTIFY_SECONDS 5

int
supervisor_sockets(
	struct supervisor_socket ret_sockets[SUPERVISOR_SOCKETS_MAX], struct ivshmem_error *reterr)
{
	struct supervisor_socket sockets[SUPERVISOR_SOCKETS_MAX] = {{.fd = -1}};
	const char *count = getenv("LISTEN_FDS"), *whom = getenv("LISTEN_PID");
	const char *name = getenv("LISTEN_FDNAMES");
	unsigned n, pid;

	if (!count || !whom)
		return 0;
	if (parse_uint(whom, 1, INT_MAX, &pid) < 0)
		return error_set(reterr, -EINVAL, "LISTEN_PID is no process: '%.100s'", whom);
	/* They were meant for a parent of ours. */
	if ((pid_t)pid != getpid())
		return 0;
	if (parse_uint(count, 0, INT_MAX - FIRST_SOCKET, &n) < 0)
		return error_set(reterr, -EINVAL, "LISTEN_FDS is no number: '%.100s'", count);
	if (n > SUPERVISOR_SOCKETS_MAX)
		return error_set(reterr, -E2BIG,
			"%u sockets are passed by LISTEN_FDS, which are more than %d", n,
			SUPERVISOR_SOCKETS_MAX);
	for (unsigned i = 0; i < n; i++) {
		size_t length = name ? strcspn(name, ":") : 0;

		sockets[i].fd = FIRST_SOCKET + (int)i;
		if (fcntl(sockets[i].fd, F_SETFD, FD_CLOEXEC) < 0)
			return error_set(reterr, -errno,
				"LISTEN_FDS says %u, but descriptor %d cannot be used: %s", n,
				sockets[i].fd, strerror(errno));
		snprintf(sockets[i].name, sizeof(sockets[i].name), "%.*s", (int)length,
			name ? name : "");
		if (name)
			name = name[length] ? name + length + 1 : NULL;
	}
	memcpy(ret_sockets, sockets, sizeof(sockets));
	return (int)n;
}

int
supervisor_notify(const char *format, ...)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = NOTIFY_SECONDS};
	_fd_cleanup_ int fd = -1;
	size_t length;
	char text[512];
	va_list args;
	int n;

	if (!path || !*path)
		return 0;
	length = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || length >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n >= (int)sizeof(text))
		n = (int)sizeof(text) - 1;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (const struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		return -errno;
	return 1;
}
