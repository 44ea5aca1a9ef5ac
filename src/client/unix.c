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
#include <client/backend.h>

#include <base/clock.h>
#include <base/eventfd.h>
#include <base/fd.h>
#include <base/pace.h>
#include <base/ringer.h>
#include <client/peers.h>
#include <client/uplink.h>
#include <region/region.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* Messages read before others have their turn. */
#define RECEIVE_BATCH 256

/* Silence that ends a burst of announcements once our own vectors have begun to come. */
#define QUIET (20 * NSEC_PER_MSEC)

/* How long to wait, after the first vector of a peer, for the others before telling of the peer. */
#define GATHER (2 * NSEC_PER_MSEC)

struct connection {
	struct ivshmem_client *client;
	struct uplink uplink;
	struct loop_source source; /* of uplink.socket */
	struct loop_timer report_timer;
	struct peers peers;
	struct list unreported; /* remote::link: peers that the application has not been told of
				   fully */
	unsigned most_vectors;  /* of any other peer */
	struct ringer ringer;
	struct pace complaints; /* about what the server sends */
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

static bool
observes(const struct connection *connection)
{
	return connection->uplink.follower.observes;
}

static int
take_vector(struct connection *connection, uint16_t peer, int received)
{
	struct ivshmem_client *client = connection->client;
	_fd_cleanup_ int fd = received;
	struct remote *remote;
	int r;

	if (!eventfd_is(fd)) {
		/* It keeps its number, or the vectors after it would get wrong ones. */
		pace_printf(&connection->complaints,
			"the server sent something else than an eventfd for peer %u", peer);
		fd = fd_close(fd);
	}
	if (!observes(connection) && peer == connection->uplink.follower.id) {
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
		pace_printf(&connection->complaints,
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
		pace_printf(&connection->complaints,
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
	int r;

	client->id = connection->uplink.follower.id;
	client->n_group_vectors = connection->uplink.follower.n_vectors;
	client->mapping = IVSHMEM_MAPPING_WRITE_BACK;
	client->doorbell = "eventfds";
	r = region_map(fd, &client->memory, &client->size, reterr);
	if (r == 0)
		client->memory_fd = fd_take(&fd);
	return r;
}

/* Act on a message. 0, or what makes the connection useless. */
static int
handle(void *data, const struct follower_event *event, struct error *reterr)
{
	struct connection *connection = data;
	int r;

	switch (event->type) {
	case FOLLOWER_EVENT_MEMORY:
		return take_memory(connection, event->fd, reterr);
	case FOLLOWER_EVENT_VECTOR:
		r = take_vector(connection, event->peer, event->fd);
		if (r < 0)
			return error_set(reterr, r, "cannot keep a vector of peer %u: %s",
				event->peer, strerror(-r));
		return 0;
	case FOLLOWER_EVENT_LEFT:
		take_left(connection, event->peer);
		return 0;
	case FOLLOWER_EVENT_NONSENSE:
		pace_printf(&connection->complaints, "%s", reterr->message);
		return 0;
	case FOLLOWER_EVENT_NONE:
		return 0;
	}
	return 0;
}

/* Receive and act on one message. 0, -EAGAIN, or what makes the connection useless. */
static int
receive(struct connection *connection, struct error *reterr)
{
	struct follower_event event;
	int r = uplink_receive(&connection->uplink, &event, reterr);

	return r < 0 ? r : handle(connection, &event, reterr);
}

static void
disconnect(struct connection *connection)
{
	loop_del(&connection->source);
	uplink_close(&connection->uplink);
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
		if (uplink_wait(&connection->uplink,
			    deadline < client->deadline ? deadline : client->deadline) == 0)
			return 0;
	}
}

/* As an observer: it is told when all that is there has been announced. */
static int
await_complete(struct connection *connection, struct error *reterr)
{
	uint64_t deadline = connection->client->deadline;

	for (;;) {
		int r = receive(connection, reterr);

		if (r < 0 && r != -EAGAIN)
			return r;
		if (connection->uplink.follower.complete)
			return 0;
		if (clock_now() >= deadline)
			return error_set(reterr, -ETIMEDOUT,
				"the server did not say in time that we know all peers; is it "
				"stuck?");
		if (r == -EAGAIN)
			uplink_wait(&connection->uplink, deadline);
	}
}

static void
connection_free(struct connection *connection)
{
	pace_end(&connection->complaints);
	loop_timer_cancel(&connection->report_timer);
	disconnect(connection);
	peers_done(&connection->peers);
	client_remove_vectors(connection->client);
	region_unmap(connection->client->memory, connection->client->size);
	connection->client->memory = NULL;
	connection->client->memory_fd = fd_close(connection->client->memory_fd);
	ringer_done(&connection->ringer);
	free(connection);
}

/* On a socket for peers, or for observers. */
static int
open_socket(struct ivshmem_client *client, const char *path, bool observe, struct error *reterr)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int r;

	if (!connection)
		return error_set(reterr, -ENOMEM, "out of memory");
	connection->client = client;
	connection->complaints = (struct pace){.log = &client->log, .level = LOG_LEVEL_WARNING};
	ringer_init(&connection->ringer);
	list_init(&connection->unreported);
	uplink_init(&connection->uplink);
	if (observe)
		follower_init_observer(&connection->uplink.follower);
	r = uplink_connect(&connection->uplink, path, client->deadline, reterr);
	if (r == 0)
		r = uplink_greet(&connection->uplink, client->deadline, handle, connection, reterr);
	if (r == 0)
		r = observe ? await_complete(connection, reterr) : settle(connection, reterr);
	if (r == 0 && connection->uplink.socket >= 0) {
		r = loop_add(client->loop, &connection->source, connection->uplink.socket, EPOLLIN,
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

static int
unix_open(struct ivshmem_client *client, const char *path, struct error *reterr)
{
	return open_socket(client, path, false, reterr);
}

static int
observe_open(struct ivshmem_client *client, const char *path, struct error *reterr)
{
	return open_socket(client, path, true, reterr);
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
	int fd = -1;

	if (peer == client->id && !observes(connection)) {
		if (vector < client->n_vectors)
			fd = client->vectors[vector]->source.fd;
	} else {
		const struct remote *remote = peers_find(&connection->peers, peer);

		if (!remote)
			return -ENOENT;
		if (vector < remote->n_vectors)
			fd = remote->vectors[vector];
	}
	return fd < 0 ? -EINVAL : ringer_ring(&connection->ringer, fd);
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

const struct backend backend_observe = {
	.name = "observe",
	.without_id = true,
	.open = observe_open,
	.peers = unix_peers,
	.peer_vectors = unix_peer_vectors,
	.ring = unix_ring,
	.close = unix_close,
};
