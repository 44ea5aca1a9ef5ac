/* SPDX-License-Identifier: BSD-2-Clause */
#include <client/uplink.h>

#include <base/clock.h>
#include <base/fd.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

/* How late what cancels may be noticed while connecting. */
#define CANCEL_LATENCY (50 * NSEC_PER_MSEC)

void
uplink_init(struct uplink *uplink)
{
	uplink->socket = -1;
	uplink->cancel = -1;
	wire_receiver_init(&uplink->receiver);
	follower_init(&uplink->follower);
}

void
uplink_close(struct uplink *uplink)
{
	uplink->socket = fd_close(uplink->socket);
	wire_receiver_done(&uplink->receiver);
}

/* ---- connecting ------------------------------------------------------------------------------ */

static int
connect_error(const char *path, int code, struct error *reterr)
{
	struct stat st;

	switch (code) {
	case -ENOENT:
		return error_set(reterr, code,
			"there is no socket '%s': start the server (ivshmem-server -S %s), or "
			"name the socket of the one that runs",
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
			"no permission to connect to '%s': become a member of its group, or let "
			"the "
			"server set other rights (--socket-group, --socket-mode)",
			path);
	case -EAGAIN:
		return error_set(reterr, -ETIMEDOUT,
			"the server on '%s' does not accept: its queue of clients stays full",
			path);
	default:
		return error_set(reterr, code, "cannot connect to '%s': %s", path, strerror(-code));
	}
}

static bool
is_cancelled(const struct uplink *uplink)
{
	struct pollfd poll_fd = {.fd = uplink->cancel, .events = POLLIN};

	return uplink->cancel >= 0 && poll(&poll_fd, 1, 0) == 1;
}

static int
cancelled(struct error *reterr)
{
	return error_set(reterr, -ECANCELED, "told to end while it waited for the server");
}

/* What is left until `deadline`, at least a microsecond: zero would mean for ever. */
static struct timeval
time_left(const struct uplink *uplink, uint64_t deadline)
{
	uint64_t now = clock_now(), left = deadline > now ? deadline - now : 0;

	/* What cancels cannot be waited for at the same time, so it is looked at in between. */
	if (uplink->cancel >= 0 && left > CANCEL_LATENCY)
		left = CANCEL_LATENCY;
	return (struct timeval){
		.tv_sec = (time_t)(left / NSEC_PER_SEC),
		.tv_usec = (suseconds_t)(left % NSEC_PER_SEC / 1000 + 1),
	};
}

int
uplink_connect(struct uplink *uplink, const char *path, uint64_t deadline, struct error *reterr)
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
		if (is_cancelled(uplink))
			return cancelled(reterr);
		/* Bounds the wait for a place in the server's queue, which poll() cannot wait for. */
		left = time_left(uplink, deadline);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left));
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			break;
		if ((errno != EINTR && errno != EAGAIN) || clock_now() >= deadline)
			return connect_error(path, -errno, reterr);
	} while (true);
	uplink->socket = fd_take(&fd);
	return 0;
}

/* ---- receiving ------------------------------------------------------------------------------- */

int
uplink_receive(struct uplink *uplink, struct follower_event *ret_event, struct error *reterr)
{
	struct wire_message message;
	int r = wire_receive(&uplink->receiver, uplink->socket, &message);

	if (r == -EAGAIN)
		return r;
	if (r == -ECONNRESET)
		return error_set(reterr, r, "the server closed the connection");
	if (r == -EMFILE)
		return error_set(reterr, r,
			"the peers' eventfds cannot be received: no file descriptors are left "
			"(raise the limit, ulimit -n, above peers times vectors), or a security "
			"policy "
			"forbids it");
	if (r == -EPROTO)
		return error_set(
			reterr, r, "the server sent more descriptors than one with a message");
	if (r < 0)
		return error_set(reterr, r, "receiving from the server failed: %s", strerror(-r));
	return follower_step(&uplink->follower, &message, ret_event, reterr);
}

int
uplink_wait(const struct uplink *uplink, uint64_t deadline)
{
	uint64_t now = clock_now(), left = deadline > now ? deadline - now : 0;
	struct timespec timeout = {(time_t)(left / NSEC_PER_SEC), (long)(left % NSEC_PER_SEC)};
	struct pollfd fds[] = {{uplink->socket, POLLIN, 0}, {uplink->cancel, POLLIN, 0}};
	int n = ppoll(fds, 2, &timeout, NULL);

	if (n > 0 && fds[1].revents)
		return -ECANCELED;
	/* Interrupted: the caller looks, finds nothing, and asks again while there is time. */
	return n != 0 ? 1 : 0;
}

int
uplink_greet(struct uplink *uplink, uint64_t deadline, uplink_fn handle, void *data,
	struct error *reterr)
{
	static const char *const missing[] = {
		[FOLLOWER_VERSION] = "version",
		[FOLLOWER_ID] = "id",
		[FOLLOWER_ID_LAST] = "id",
		[FOLLOWER_MEMORY] = "memory",
	};

	while (uplink->follower.state != FOLLOWER_RUNNING) {
		struct follower_event event;
		int r = uplink_receive(uplink, &event, reterr);

		if (r == 0)
			r = handle(data, &event, reterr);
		else if (r == -EAGAIN)
			r = uplink_wait(uplink, deadline);
		if (r == -ECANCELED)
			return cancelled(reterr);
		if (r < 0)
			return r;
		/* On every turn: a server may send senseless messages without end. */
		if (uplink->follower.state != FOLLOWER_RUNNING && clock_now() >= deadline)
			return error_set(reterr, -ETIMEDOUT,
				"the server accepted us but did not send its %s in time; is it "
				"stuck?",
				missing[uplink->follower.state]);
	}
	return 0;
}
