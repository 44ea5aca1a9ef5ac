/* SPDX-License-Identifier: BSD-2-Clause */
#include <socket/connect.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/fd.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

/* So much time may pass before we notice that we are to cancel. */
#define CANCEL_LATENCY (50 * NSEC_PER_MSEC)

static int
connect_error(const char *path, int code, struct ivshmem_error *reterr)
{
	struct stat st;

	switch (code) {
	case -ENOENT:
		return error_set(reterr, code,
			"there is no socket '%s': start the server (ivshmem-server -S %s), or name the socket of the one that runs",
			path, path);
	case -ECONNREFUSED:
		if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			return error_set(
				reterr, code, "'%s' is not a socket; name that of a server", path);
		return error_set(reterr, code,
			"nobody listens on '%s': the server that made it is gone; start it again",
			path);
	case -EACCES:
	case -EPERM:
		return error_set(reterr, code,
			"no permission to connect to '%s': become a member of its group, or let the server set other rights (--socket-group, --socket-mode)",
			path);
	case -EAGAIN: /* The time-out of SO_SNDTIMEO. */
		return error_set(reterr, -ETIMEDOUT,
			"the server on '%s' does not accept: its queue of clients stays full",
			path);
	default:
		return error_set(reterr, code, "cannot connect to '%s': %s", path, strerror(-code));
	}
}

static bool
is_cancelled(int cancel)
{
	struct pollfd poll_fd = {.fd = cancel, .events = POLLIN};

	return cancel >= 0 && poll(&poll_fd, 1, 0) == 1;
}

/* The time that is left until `deadline`, at least a microsecond, because 0 would mean for ever. */
static struct timeval
time_left(uint64_t deadline, int cancel)
{
	uint64_t now = clock_now(), left = deadline > now ? deadline - now : 0;

	/* connect() cannot wait for `cancel`, too, so look at it in between. */
	if (cancel >= 0 && left > CANCEL_LATENCY)
		left = CANCEL_LATENCY;
	return (struct timeval){
		.tv_sec = (time_t)(left / NSEC_PER_SEC),
		.tv_usec = (suseconds_t)(left % NSEC_PER_SEC / 1000 + 1),
	};
}

int
socket_connect(const char *path, uint64_t deadline, int cancel, struct ivshmem_error *reterr)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval left;
	_fd_cleanup_ int fd = -1;

	if (path[0] == '\0' || strlen(path) >= sizeof(address.sun_path))
		return error_set(reterr, -EINVAL,
			"the path of the server's socket must have 1 to %zu bytes: '%s'",
			sizeof(address.sun_path) - 1, path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(reterr, -errno, "cannot create a socket: %s", strerror(errno));
	do {
		if (is_cancelled(cancel))
			return error_set(
				reterr, -ECANCELED, "told to end while it waited for the server");
		/* Limits the wait for a place in the server's queue, which poll() cannot wait
		 * for. */
		left = time_left(deadline, cancel);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left));
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			break;
		if ((errno != EINTR && errno != EAGAIN) || clock_now() >= deadline)
			return connect_error(path, -errno, reterr);
	} while (true);
	return fd_take(&fd);
}
