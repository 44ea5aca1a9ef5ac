/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/supervisor.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/parse.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define FIRST_SOCKET 3

/* A message must not be lost because the supervisor is busy, and must not stop us for ever. */
#define PATIENCE_SECONDS 5

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

bool
supervisor_present(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path && *path;
}

static int
find_address(struct sockaddr_un *ret_address, socklen_t *ret_length)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;

	if (length == 0)
		return -ENOTCONN;
	if ((path[0] != '/' && path[0] != '@') || length >= sizeof(ret_address->sun_path))
		return -EINVAL;
	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret_address->sun_path, path, length);
	if (path[0] == '@')
		ret_address->sun_path[0] = '\0';
	*ret_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return 0;
}

/* One message, with a descriptor unless that is -1. */
static int
send_message(const char *text, size_t length, int passed, struct mmsghdr *noted)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	struct sockaddr_un address;
	struct iovec iov = {.iov_len = length};
	struct msghdr message = {.msg_name = &address, .msg_iov = &iov, .msg_iovlen = 1};
	struct mmsghdr own = {0};
	_fd_cleanup_ int fd = -1;
	int r = find_address(&address, &message.msg_namelen);

	if (!noted)
		noted = &own;

	if (r < 0)
		return r;
	memcpy(&iov.iov_base, &text, sizeof(text)); /* sendmsg() only reads it */
	if (passed >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &passed, sizeof(int));
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	noted->msg_hdr = message;
	return sendmmsg(fd, noted, 1, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int
supervisor_notify(const char *format, ...)
{
	char text[512];
	va_list args;
	int n, r;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n >= (int)sizeof(text))
		n = (int)sizeof(text) - 1;
	r = send_message(text, (size_t)n, -1, NULL);
	if (r == -ENOTCONN && !supervisor_present())
		return 0;
	return r < 0 ? r : 1;
}

/*
 * The supervisor closes the other end of the pipe when it comes to this message, after all before
 * it. The message must say nothing else.
 */
static int
wait_until_read(void)
{
	static const char text[] = "BARRIER=1";
	_fd_cleanup_ int ours = -1, theirs = -1;
	struct pollfd end = {0};
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	ours = ends[0];
	theirs = ends[1];
	r = send_message(text, strlen(text), theirs, NULL);
	if (r < 0)
		return r;
	theirs = fd_close(theirs);
	end.fd = ours;
	do
		r = poll(&end, 1, PATIENCE_SECONDS * 1000);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r == 0 ? -ETIMEDOUT : 0;
}

int
supervisor_store(int fd, const char *name, struct mmsghdr *noted)
{
	char text[128];
	int n, r;

	/* Without FDPOLL=0, systemd would drop a socket whose other end is closed. */
	n = snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	r = send_message(text, (size_t)n, fd, noted);
	if (r < 0)
		return r;
	/* It has the descriptor in its queue, even if it cannot be asked whether it has read that. */
	r = wait_until_read();
	return r < 0 && r != -ECONNREFUSED ? -ETIMEDOUT : r;
}

int
supervisor_remove(const char *name)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	int r = send_message(text, (size_t)n, -1, NULL);

	return r < 0 ? r : wait_until_read();
}
