/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The back end of a host process: a connection to the server.
 *
 * Theory of operation
 *
 * open() connects, follows the greeting until the memory is mapped, and goes on listening for a
 * moment, because the peers there are and our own vectors come after the memory and no message says
 * which is the last. All this within the client's deadline. From then on the socket is a source of
 * the client's loop.
 *
 * The vectors of a peer come one message each. A peer is reported a moment after its first one, so
 * that the application mostly hears of it once, with all its vectors.
 */
#include <backend.h>

#include <clock.h>
#include <fd.h>
#include <follower.h>
#include <peers.h>
#include <region.h>
#include <wire.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

/* Messages read before others have their turn. */
#define RECEIVE_BATCH 256

/* Silence that ends a burst of announcements once our own vectors have begun to come. */
#define QUIET (20 * NSEC_PER_MSEC)

/* How long to wait, after the first vector of a peer, for the others before telling of the peer. */
#define GATHER (2 * NSEC_PER_MSEC)

struct connection {
	struct ivshmem_client *client;
	struct loop_source source; /* source.fd is the socket, owned; -1 when lost */
	struct loop_timer report_timer;
	struct wire_receiver receiver;
	struct follower follower;
	struct peers peers;
	struct list unreported; /* remote::link: peers that the application has not been told of
				   fully */
	unsigned most_vectors;  /* of any other peer */
};

/* ---- reporting peers ------------------------------------------------------------------------- */

static void
report(struct connection *connection)
{
	while (!list_empty(&connection->unreported)) {
		struct remote *remote =
			container_of(connection->unreported.next, struct remote, link);
		unsigned before = remote->reported;

		list_remove(&remote->link);
		remote->reported = remote->n_vectors;
		if (before == 0)
			client_peer_joined(connection->client, remote->id, remote->n_vectors);
		else
			client_peer_vectors(connection->client, remote->id, remote->n_vectors);
	}
}

static void
report_later(struct loop_timer *timer)
{
	report(container_of(timer, struct connection, report_timer));
}

/* ---- messages -------------------------------------------------------------------------------- */

/*
 * Is it what it should be? A descriptor that is not an eventfd could block us or feed us with
 * garbage. Without /proc there is no way to tell, and it is taken for one.
 */
static bool
is_eventfd(int fd)
{
	static const char expected[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(expected)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n < 0 ||
	       ((size_t)n == sizeof(expected) - 1 && memcmp(target, expected, (size_t)n) == 0);
}

static int
take_vector(struct connection *connection, uint16_t peer, int received)
{
	struct ivshmem_client *client = connection->client;
	_fd_cleanup_ int fd = received;
	struct remote *remote;
	int r;

	if (!is_eventfd(fd)) {
		/* It keeps its number, or the vectors after it would get wrong ones. */
		log_warning(&client->log,
			"the server sent something else than an eventfd for peer %u", peer);
		fd = fd_close(fd);
	}
	if (peer == connection->follower.id) {
		r = client_add_vector(client, &fd);
	} else {
		r = peers_get(&connection->peers, peer, &remote);
		if (r == 0)
			r = remote_add_vector(remote, &fd);
		if (r == 0) {
			if (remote->n_vectors > connection->most_vectors)
				connection->most_vectors = remote->n_vectors;
			list_remove(&remote->link);
			list_append(&connection->unreported, &remote->link);
		}
	}
	if (r == -ENOSPC) {
		log_warning(&client->log,
			"the server sent more than %d vectors for peer %u; it is ignored",
			IVSHMEM_MAX_VECTORS, peer);
		return 0;
	}
	return r;
}

static void
take_left(struct connection *connection, uint16_t peer)
{
	struct remote *remote = peers_find(&connection->peers, peer);
	bool known;

	if (!remote) {
		log_warning(&connection->client->log,
			"the server said that unknown peer %u left; it is ignored", peer);
		return;
	}
	/* Nothing that happened is kept back, except what was over before we had attached. */
	if (connection->client->dispatching)
		report(connection);
	known = remote->reported > 0;
	peers_remove(&connection->peers, remote);
	if (known)
		client_peer_left(connection->client, peer);
}

static int
take_memory(struct connection *connection, int received, struct error *reterr)
{
	struct ivshmem_client *client = connection->client;
	_fd_cleanup_ int fd = received;

	client->id = connection->follower.id;
	client->mapping = IVSHMEM_MAPPING_WRITE_BACK;
	return region_map(fd, &client->memory, &client->size, reterr);
}

/* Receive and act on one message. 0, -EAGAIN, or what makes the connection useless. */
static int
receive(struct connection *connection, struct error *reterr)
{
	struct wire_message message;
	struct follower_event event;
	int r = wire_receive(&connection->receiver, connection->source.fd, &message);

	if (r == -EAGAIN)
		return r;
	if (r == -ECONNRESET)
		return error_set(reterr, r, "the server closed the connection");
	if (r == -EMFILE)
		return error_set(reterr, r,
			"the peers' eventfds cannot be received: no file descriptors are left "
			"(raise "
			"the limit, ulimit -n, above peers times vectors), or a security policy "
			"forbids it");
	if (r == -EPROTO)
		return error_set(
			reterr, r, "the server sent more descriptors than one with a message");
	if (r < 0)
		return error_set(reterr, r, "receiving from the server failed: %s", strerror(-r));
	r = follower_step(&connection->follower, &message, &event, reterr);
	if (r < 0)
		return r;
	switch (event.type) {
	case FOLLOWER_EVENT_MEMORY:
		return take_memory(connection, event.fd, reterr);
	case FOLLOWER_EVENT_VECTOR:
		r = take_vector(connection, event.peer, event.fd);
		if (r < 0)
			return error_set(reterr, r, "cannot keep a vector of peer %u: %s",
				event.peer, strerror(-r));
		return 0;
	case FOLLOWER_EVENT_LEFT:
		take_left(connection, event.peer);
		return 0;
	case FOLLOWER_EVENT_NONSENSE:
		log_warning(&connection->client->log, "%s", reterr->message);
		return 0;
	case FOLLOWER_EVENT_NONE:
		return 0;
	}
	return 0;
}

static void
disconnect(struct connection *connection)
{
	loop_del(&connection->source);
	connection->source.fd = fd_close(connection->source.fd);
	wire_receiver_done(&connection->receiver);
}

static void
readable(struct loop_source *source, uint32_t events)
{
	struct connection *connection = container_of(source, struct connection, source);
	struct error error = {0};
	int r = 0;

	(void)events;
	for (unsigned i = 0; i < RECEIVE_BATCH && r == 0; i++)
		r = receive(connection, &error);
	if (!list_empty(&connection->unreported) && !loop_timer_is_set(&connection->report_timer))
		loop_timer_set(connection->client->loop, &connection->report_timer,
			clock_now() + GATHER, report_later);
	if (r < 0 && r != -EAGAIN) {
		report(connection);
		disconnect(connection);
		client_lose(connection->client, r, error.message);
	}
}

/* ---- opening --------------------------------------------------------------------------------- */

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

/* What is left until `deadline`, at least a microsecond: zero would mean for ever. */
static struct timeval
time_left(uint64_t deadline)
{
	uint64_t now = clock_now(), left = deadline > now ? deadline - now : 0;

	return (struct timeval){
		.tv_sec = (time_t)(left / NSEC_PER_SEC),
		.tv_usec = (suseconds_t)(left % NSEC_PER_SEC / 1000 + 1),
	};
}

static int
connect_to(const char *path, uint64_t deadline, struct error *reterr)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval left = time_left(deadline);
	_fd_cleanup_ int fd = -1;

	if (path[0] == '\0' || strlen(path) >= sizeof(address.sun_path))
		return error_set(reterr, -EINVAL,
			"the path of the server's socket must have 1 to %zu bytes: '%s'",
			sizeof(address.sun_path) - 1, path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(reterr, -errno, "cannot create a socket: %s", strerror(errno));
	/* Bounds the wait for a place in the server's queue, which poll() cannot wait for. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left));
	while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		if (errno != EINTR || clock_now() >= deadline)
			return connect_error(path, -errno, reterr);
	return fd_take(&fd);
}

/* Wait until the socket is readable (returns 1) or `deadline` (0). */
static int
wait_readable(int fd, uint64_t deadline)
{
	uint64_t now = clock_now(), left = deadline > now ? deadline - now : 0;
	struct timespec timeout = {(time_t)(left / NSEC_PER_SEC), (long)(left % NSEC_PER_SEC)};
	struct pollfd poll = {.fd = fd, .events = POLLIN};
	int n = ppoll(&poll, 1, &timeout, NULL);

	/* Interrupted: the caller looks, finds nothing, and asks again while there is time. */
	return n < 0 ? 1 : n;
}

static int
greet(struct connection *connection, struct error *reterr)
{
	static const char *const missing[] = {
		[FOLLOWER_VERSION] = "version",
		[FOLLOWER_ID] = "id",
		[FOLLOWER_MEMORY] = "memory",
	};

	while (connection->follower.state != FOLLOWER_RUNNING) {
		int r = receive(connection, reterr);

		if (r == -EAGAIN)
			r = wait_readable(connection->source.fd, connection->client->deadline);
		if (r < 0)
			return r;
		/* On every turn: a server may send senseless messages without end. */
		if (connection->follower.state != FOLLOWER_RUNNING &&
			clock_now() >= connection->client->deadline)
			return error_set(reterr, -ETIMEDOUT,
				"the server accepted us but did not send its %s in time; is it "
				"stuck?",
				missing[connection->follower.state]);
	}
	return 0;
}

/*
 * Listen on until all that is there has most likely been announced. A server that closes now did
 * its duty: what it gave us works on, and the application will be told.
 */
static int
settle(struct connection *connection, struct error *reterr)
{
	struct ivshmem_client *client = connection->client;
	uint64_t heard = clock_now();

	for (;;) {
		bool ours = client->n_vectors > 0 && client->n_vectors >= connection->most_vectors;
		uint64_t deadline = heard + (ours ? QUIET : client->settle_ns);
		int r = receive(connection, reterr);

		if (r == -ECONNRESET) {
			disconnect(connection);
			client_lose(client, r, reterr->message);
			return 0;
		}
		if (r < 0 && r != -EAGAIN)
			return r;
		if (clock_now() >= client->deadline)
			return 0;
		if (r == 0) {
			heard = clock_now();
			continue;
		}
		if (wait_readable(connection->source.fd,
			    deadline < client->deadline ? deadline : client->deadline) == 0)
			return 0;
	}
}

static void
connection_free(struct connection *connection)
{
	loop_timer_cancel(&connection->report_timer);
	disconnect(connection);
	peers_done(&connection->peers);
	client_remove_vectors(connection->client);
	region_unmap(connection->client->memory, connection->client->size);
	connection->client->memory = NULL;
	free(connection);
}

static int
unix_open(struct ivshmem_client *client, const char *path, struct error *reterr)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int r;

	if (!connection)
		return error_set(reterr, -ENOMEM, "out of memory");
	connection->client = client;
	list_init(&connection->unreported);
	wire_receiver_init(&connection->receiver);
	follower_init(&connection->follower);
	connection->source.fd = r = connect_to(path, client->deadline, reterr);
	if (r >= 0)
		r = greet(connection, reterr);
	if (r == 0)
		r = settle(connection, reterr);
	if (r == 0 && connection->source.fd >= 0) {
		r = loop_add(client->loop, &connection->source, connection->source.fd, EPOLLIN,
			readable);
		if (r < 0)
			error_set(reterr, r, "cannot watch the server's socket: %s", strerror(-r));
	}
	if (r < 0) {
		connection_free(connection);
		return r;
	}
	if (!list_empty(&connection->unreported))
		loop_timer_set(client->loop, &connection->report_timer, 0, report_later);
	client->state = connection;
	return 0;
}

static void
unix_close(struct ivshmem_client *client)
{
	connection_free(client->state);
	client->state = NULL;
}

/* ---- peers ----------------------------------------------------------------------------------- */

static int
unix_peers(const struct ivshmem_client *client, uint16_t *ids, size_t max)
{
	const struct connection *connection = client->state;

	return (int)peers_list(&connection->peers, ids, max);
}

static int
unix_peer_vectors(const struct ivshmem_client *client, uint16_t peer)
{
	const struct connection *connection = client->state;
	const struct remote *remote = peers_find(&connection->peers, peer);

	return remote ? (int)remote->n_vectors : -ENOENT;
}

static int
unix_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector)
{
	const struct connection *connection = client->state;
	const uint64_t one = 1;
	struct pollfd poll_fd = {.fd = -1, .events = POLLOUT};

	if (peer == client->id) {
		if (vector < client->n_vectors)
			poll_fd.fd = client->vectors[vector]->source.fd;
	} else {
		const struct remote *remote = peers_find(&connection->peers, peer);

		if (!remote)
			return -ENOENT;
		if (vector < remote->n_vectors)
			poll_fd.fd = remote->vectors[vector];
	}
	if (poll_fd.fd < 0)
		return -EINVAL;
	/*
	 * O_NONBLOCK belongs to everybody who holds the eventfd, so it may be off: a write to a
	 * full counter would block. A full counter is one that rings already.
	 */
	if (poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) &&
		write(poll_fd.fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

const struct backend backend_unix = {
	.name = "unix",
	.interrupts = true,
	.open = unix_open,
	.peers = unix_peers,
	.peer_vectors = unix_peer_vectors,
	.ring = unix_ring,
	.close = unix_close,
};
