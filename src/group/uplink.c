/* SPDX-License-Identifier: BSD-2-Clause */
#include <group/uplink.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/eventfd.h>
#include <base/fd.h>
#include <socket/connect.h>

#include <ivshmem/abi.h>
#include <ivshmem/common.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>

/* So many messages are read before others have their turn. The thread that dispatches may hold a
 * lock that a guest waits for. */
#define RECEIVE_BATCH 64

/* The server may waste so many numbers of vectors with descriptors that are no eventfds. */
#define IMPOSTORS_MAX IVSHMEM_MAX_VECTORS

void
uplink_init(struct uplink *uplink, const struct uplink_ops *ops, struct loop *loop,
	const struct log *log, int cancel)
{
	*uplink = (struct uplink){
		.ops = ops,
		.loop = loop,
		.log = log,
		.socket = -1,
		.cancel = cancel,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.complaints = {.log = log, .level = LOG_LEVEL_WARNING},
	};
	wire_receiver_init(&uplink->receiver);
	ringer_init(&uplink->ringer);
}

int
uplink_open(struct uplink *uplink, enum uplink_kind kind, const char *path, uint64_t deadline,
	struct ivshmem_error *reterr)
{
	int r;

	if (uplink->wire_log && wire_log_has_begun(uplink->wire_log)) {
		uplink->socket = wire_log_socket(uplink->wire_log);
	} else {
		r = socket_connect(path, deadline, uplink->cancel, reterr);
		if (r < 0)
			return r;
		uplink->socket = r;
		if (uplink->wire_log)
			wire_log_begin(uplink->wire_log, r);
	}
	if (kind == UPLINK_OBSERVER)
		follower_init_observer(&uplink->follower);
	else if (kind == UPLINK_EITHER)
		follower_init_either(&uplink->follower);
	else
		follower_init(&uplink->follower);
	return 0;
}

void
uplink_disconnect(struct uplink *uplink)
{
	loop_del(&uplink->source);
	if (uplink->wire_log)
		wire_log_end(uplink->wire_log);
	uplink->socket = fd_close(uplink->socket);
	wire_receiver_done(&uplink->receiver);
}

void
uplink_close(struct uplink *uplink)
{
	uplink_disconnect(uplink);
	loop_timer_cancel(&uplink->gone);
	pace_end(&uplink->complaints);
	peers_done(&uplink->peers);
	ringer_done(&uplink->ringer);
}

/* ---- what there is --------------------------------------------------------------------------- */

bool
uplink_is_self(const struct uplink *uplink, uint16_t peer)
{
	return uplink->follower.identified && peer == uplink->follower.id;
}

struct remote *
uplink_self(const struct uplink *uplink)
{
	uint16_t id = uplink->follower.id;

	return uplink_is_self(uplink, id) ? peers_find(&uplink->peers, id) : NULL;
}

int
uplink_eventfd(const struct uplink *uplink, uint16_t peer, unsigned vector)
{
	const struct remote *remote = peers_find(&uplink->peers, peer);

	return remote && vector < remote->n_vectors ? remote->vectors[vector] : -1;
}

void
uplink_truncate(struct uplink *uplink, struct remote *remote, unsigned n)
{
	pthread_mutex_lock(&uplink->lock);
	remote_truncate(remote, n);
	if (n == 0)
		peers_remove(&uplink->peers, remote);
	pthread_mutex_unlock(&uplink->lock);
}

int
uplink_ring(struct uplink *uplink, uint16_t peer, unsigned vector)
{
	int fd, r;

	pthread_mutex_lock(&uplink->lock);
	fd = uplink_eventfd(uplink, peer, vector);
	if (fd >= 0)
		r = ringer_ring(&uplink->ringer, fd);
	else
		r = peers_find(&uplink->peers, peer) || uplink_is_self(uplink, peer) ? -EINVAL
										     : -ENOENT;
	pthread_mutex_unlock(&uplink->lock);
	return r;
}

/* ---- messages -------------------------------------------------------------------------------- */

static int
take_vector(struct uplink *uplink, uint16_t peer, int received, struct ivshmem_error *reterr)
{
	_fd_cleanup_ int fd = received;
	struct remote *remote;
	int r;

	if (!eventfd_is(fd)) {
		if (++uplink->impostors > IMPOSTORS_MAX)
			return error_set(reterr, -EPROTO,
				"the server sent %u descriptors that should be eventfds and are not",
				uplink->impostors);
		pace_printf(&uplink->complaints,
			"the server sent something else than an eventfd for peer %u", peer);
		/* The vector keeps its number, or those after it would get wrong ones. */
		fd = fd_close(fd);
	}
	pthread_mutex_lock(&uplink->lock);
	r = peers_get(&uplink->peers, peer, &remote);
	if (r == 0)
		r = remote_add_vector(remote, &fd);
	pthread_mutex_unlock(&uplink->lock);
	if (r == -ENOSPC) {
		pace_printf(&uplink->complaints,
			"the server sent more than %d vectors for peer %u; it is ignored",
			IVSHMEM_MAX_VECTORS, peer);
		return 0;
	}
	if (r == 0) {
		if (!uplink_is_self(uplink, peer) && remote->n_vectors > uplink->most_vectors)
			uplink->most_vectors = remote->n_vectors;
		r = uplink->ops->vector(uplink, remote);
		if (r < 0)
			uplink_truncate(uplink, remote, remote->n_vectors - 1);
	}
	return r < 0 ? error_set(
			       reterr, r, "cannot keep a vector of peer %u: %s", peer, strerror(-r))
		     : 0;
}

static void
take_left(struct uplink *uplink, uint16_t peer)
{
	struct remote *remote = peers_find(&uplink->peers, peer);

	if (!remote) {
		pace_printf(&uplink->complaints,
			"the server said that unknown peer %u left; it is ignored", peer);
		return;
	}
	uplink->ops->left(uplink, remote);
	remote = peers_find(&uplink->peers, peer);
	if (remote)
		uplink_truncate(uplink, remote, 0);
}

/* Receive one message. Returns 0 and its event, -EAGAIN, or the error that makes the connection
 * useless. */
static int
receive(struct uplink *uplink, struct follower_event *ret_event, struct ivshmem_error *reterr)
{
	struct wire_message message;
	int r = uplink->wire_log ? wire_log_receive(uplink->wire_log, &uplink->receiver, &message)
				 : wire_receive(&uplink->receiver, uplink->socket, &message);

	if (r == -EAGAIN)
		return r;
	if (r == -ECONNRESET)
		return error_set(reterr, r, "the server closed the connection");
	if (r == -EMFILE)
		return error_set(reterr, r,
			"the peers' eventfds cannot be received: no file descriptors are left (raise the limit, ulimit -n, above peers times vectors), or a security policy forbids it");
	if (r == -ENOSPC)
		return error_set(
			reterr, r, "there is no room to note what the server says (--guard)");
	if (r == -EPROTO)
		return error_set(
			reterr, r, "the server sent more descriptors than one with a message");
	if (r < 0)
		return error_set(reterr, r, "receiving from the server failed: %s", strerror(-r));
	return follower_step(&uplink->follower, &message, ret_event, reterr);
}

/* Receive one message and act on it. Returns 0, -EAGAIN, or the error that makes the connection
 * useless. */
static int
step(struct uplink *uplink, struct ivshmem_error *reterr)
{
	struct follower_event event = {.type = FOLLOWER_EVENT_NONE};
	int r = receive(uplink, &event, reterr);

	if (r < 0)
		return r;
	if (event.identifies && uplink->ops->identified)
		uplink->ops->identified(uplink);
	switch (event.type) {
	case FOLLOWER_EVENT_MEMORY: {
		_fd_cleanup_ int fd = event.fd;

		return uplink->ops->memory(uplink, &fd, reterr);
	}
	case FOLLOWER_EVENT_VECTOR:
		return take_vector(uplink, event.peer, event.fd, reterr);
	case FOLLOWER_EVENT_LEFT:
		take_left(uplink, event.peer);
		return 0;
	case FOLLOWER_EVENT_NONSENSE:
		pace_printf(&uplink->complaints, "%s", reterr->message);
		return 0;
	case FOLLOWER_EVENT_NONE:
		return 0;
	}
	return 0;
}

static void
readable(struct loop_source *source, uint32_t events)
{
	struct uplink *uplink = container_of(source, struct uplink, source);
	struct ivshmem_error error = {0};
	int r = 0;

	(void)events;
	for (unsigned i = 0; i < RECEIVE_BATCH && r == 0; i++)
		r = step(uplink, &error);
	if (r == 0 || r == -EAGAIN) {
		uplink->ops->handled(uplink);
		return;
	}
	uplink_disconnect(uplink);
	uplink->ops->lost(uplink, &error);
}

static void
tell_gone(struct loop_timer *timer)
{
	struct uplink *uplink = container_of(timer, struct uplink, gone);
	struct ivshmem_error error;

	error_set(&error, -ECONNRESET, "the server is gone");
	uplink->ops->lost(uplink, &error);
}

/* Take in what the log has. If the connection has ended, the loop tells of it. */
static void
catch_up(struct uplink *uplink)
{
	struct ivshmem_error error;
	int r = 0;

	while (r == 0 && wire_log_is_behind(uplink->wire_log))
		r = step(uplink, &error);
	if ((r == 0 || r == -EAGAIN) && uplink->socket >= 0)
		return;
	uplink_disconnect(uplink);
	loop_timer_set(uplink->loop, &uplink->gone, 0, tell_gone);
}

int
uplink_listen(struct uplink *uplink, struct ivshmem_error *reterr)
{
	int r;

	if (uplink->wire_log)
		catch_up(uplink);
	if (loop_timer_is_set(&uplink->gone))
		return 0;
	r = loop_add(uplink->loop, &uplink->source, uplink->socket, EPOLLIN, readable);

	return r < 0 ? error_set(reterr, r, "cannot watch the server's socket: %s", strerror(-r))
		     : 0;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Wait until there is something to receive (1), or until `deadline` (0); or -ECANCELED. */
static int
wait_for_message(const struct uplink *uplink, uint64_t deadline, struct ivshmem_error *reterr)
{
	uint64_t now = clock_now(), left = deadline > now ? deadline - now : 0;
	struct timespec timeout = {(time_t)(left / NSEC_PER_SEC), (long)(left % NSEC_PER_SEC)};
	struct pollfd fds[] = {{uplink->socket, POLLIN, 0}, {uplink->cancel, POLLIN, 0}};
	int n = ppoll(fds, 2, &timeout, NULL);

	if (n > 0 && fds[1].revents)
		return error_set(reterr, -ECANCELED, "told to end while it waited for the server");
	/* Interrupted: the caller looks, finds nothing, and waits again if there is time. */
	return n != 0 ? 1 : 0;
}

/*
 * Act on a message, or wait for one until `deadline`. Returns HEARD, QUIET if there was none by
 * then, AGAIN if the caller is to look again, or the error that makes the connection useless. A
 * message that came in time is not QUIET, however late this process reads it.
 */
enum { QUIET, HEARD, AGAIN };

static int
step_or_wait(struct uplink *uplink, uint64_t deadline, struct ivshmem_error *reterr)
{
	int r = step(uplink, reterr);

	if (r == 0)
		return HEARD;
	if (r != -EAGAIN)
		return r;
	r = wait_for_message(uplink, deadline, reterr);
	return r > 0 ? AGAIN : r;
}

int
uplink_greet(struct uplink *uplink, uint64_t deadline, struct ivshmem_error *reterr)
{
	static const char *const missing[] = {
		[FOLLOWER_VERSION] = "version",
		[FOLLOWER_ID] = "id",
		[FOLLOWER_ID_LAST] = "id",
		[FOLLOWER_MEMORY] = "memory",
	};

	while (uplink->follower.state != FOLLOWER_RUNNING) {
		int r = step_or_wait(uplink, deadline, reterr);

		if (r < 0)
			return r;
		/* On every turn, because a server may send senseless messages without end. */
		if (uplink->follower.state != FOLLOWER_RUNNING && clock_now() >= deadline)
			return error_set(reterr, -ETIMEDOUT,
				"the server accepted us but did not send its %s in time; is it stuck?",
				missing[uplink->follower.state]);
	}
	return 0;
}

int
uplink_settle(struct uplink *uplink, unsigned vectors, uint64_t quiet, uint64_t silence,
	uint64_t deadline, struct ivshmem_error *reterr)
{
	uint64_t heard = clock_now();

	for (;;) {
		const struct remote *self = uplink_self(uplink);
		unsigned wanted = vectors ? vectors : uplink->most_vectors;
		bool enough = self && self->n_vectors > 0 && self->n_vectors >= wanted;
		uint64_t limit = heard + (enough ? quiet : silence);
		int r;

		if (enough && quiet == 0)
			return 0;
		if (limit > deadline)
			limit = deadline;
		r = step_or_wait(uplink, limit, reterr);
		if (r < 0)
			return r;
		if (r == HEARD)
			heard = clock_now();
		if (r == QUIET || clock_now() >= deadline)
			return 0;
	}
}

int
uplink_await_complete(struct uplink *uplink, uint64_t deadline, struct ivshmem_error *reterr)
{
	while (!uplink->follower.complete) {
		int r = step_or_wait(uplink, deadline, reterr);

		if (r < 0)
			return r;
		if (!uplink->follower.complete && clock_now() >= deadline)
			return error_set(reterr, -ETIMEDOUT,
				"the server did not say in time that we know all peers; is it stuck?");
	}
	return 0;
}
