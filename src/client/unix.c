/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The back ends of a host process: a member of a server's group, and an observer of it.
 *
 * Theory of operation
 *
 * open() connects, waits until the memory is mapped, and goes on listening for a moment, because the
 * server announces the other peers and our own vectors after the memory. All this has to happen by
 * the client's deadline. From then on, the client's loop serves the uplink (src/group).
 *
 * The server announces each vector of a peer in a message of its own. We report a peer a moment after
 * its first vector, so the application usually hears of it once, with all its vectors.
 */
#include <client/backend.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/eventfd.h>
#include <base/fd.h>
#include <group/uplink.h>
#include <region/read_only.h>
#include <region/region.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Once our own vectors have begun to arrive, a silence of this length ends the announcements. */
#define QUIET (20 * NSEC_PER_MSEC)

/* After a silence of this length, we no longer wait for our vectors. */
#define SILENCE (200 * NSEC_PER_MSEC)

/* How long we wait for more vectors of a peer before we report it. */
#define GATHER (2 * NSEC_PER_MSEC)

struct connection {
	struct ivshmem_client *client;
	struct uplink uplink;
	struct loop_timer report_timer;
	struct list unreported; /* remote::link: peers with something the application does not
				   know yet */
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

/* ---- what the server says ---------------------------------------------------------------------- */

static struct connection *
connection_of(struct uplink *uplink)
{
	return container_of(uplink, struct connection, uplink);
}

static void
identified(struct uplink *uplink)
{
	connection_of(uplink)->client->id = uplink->follower.id;
}

static int
take_memory(struct uplink *uplink, int *fd, struct ivshmem_error *reterr)
{
	struct ivshmem_client *client = connection_of(uplink)->client;
	int r;

	client->n_group_vectors = uplink->follower.n_vectors;
	client->mapping = IVSHMEM_MAPPING_WRITE_BACK;
	client->doorbell = "eventfds";
	/* The server's policy may give us the memory for reading only. */
	client->read_only = region_is_read_only(*fd);
	r = (client->read_only ? region_map_read_only : region_map)(
		*fd, &client->memory, &client->size, reterr);
	if (r == 0)
		client->memory_fd = fd_take(fd);
	return r;
}

static int
take_vector(struct uplink *uplink, struct remote *remote)
{
	struct connection *connection = connection_of(uplink);

	if (uplink_is_self(uplink, remote->id))
		return client_add_vector(
			connection->client, remote->vectors[remote->n_vectors - 1]);
	list_remove(&remote->link);
	list_append(&connection->unreported, &remote->link);
	return 0;
}

static void
take_left(struct uplink *uplink, struct remote *remote)
{
	struct connection *connection = connection_of(uplink);
	uint16_t id = remote->id;
	bool known;

	/* Report everything that happened, except what was over before we had attached. */
	if (connection->client->dispatching)
		report(connection);
	known = remote->reported > 0;
	uplink_truncate(uplink, remote, 0);
	if (known)
		client_peer_left(connection->client, id);
}

static void
handled(struct uplink *uplink)
{
	struct connection *connection = connection_of(uplink);

	if (!list_empty(&connection->unreported) && !loop_timer_is_set(&connection->report_timer))
		loop_timer_set(uplink->loop, &connection->report_timer, clock_now() + GATHER,
			report_later);
}

static void
lost(struct uplink *uplink, const struct ivshmem_error *error)
{
	struct connection *connection = connection_of(uplink);

	report(connection);
	client_lose(connection->client, error->code, error->message);
}

static const struct uplink_ops uplink_ops = {
	.identified = identified,
	.memory = take_memory,
	.vector = take_vector,
	.left = take_left,
	.handled = handled,
	.lost = lost,
};

/* ---- opening --------------------------------------------------------------------------------- */

/*
 * Wait until the server has most likely announced everything that is there. If it closes the
 * connection now, it has done its duty: what it gave us goes on working, and the application will
 * hear of the loss.
 */
static int
settle(struct connection *connection, struct ivshmem_error *reterr)
{
	struct ivshmem_client *client = connection->client;
	int r = uplink_settle(&connection->uplink, 0, QUIET, SILENCE, client->deadline, reterr);

	if (r != -ECONNRESET)
		return r;
	uplink_disconnect(&connection->uplink);
	client_lose(client, r, reterr->message);
	return 0;
}

static void
connection_free(struct connection *connection)
{
	struct ivshmem_client *client = connection->client;

	loop_timer_cancel(&connection->report_timer);
	client_remove_vectors(client);
	uplink_close(&connection->uplink);
	region_unmap(client->memory, client->size);
	client->memory = NULL;
	client->memory_fd = fd_close(client->memory_fd);
	free(connection);
}

static int
open_uplink(struct connection *connection, enum uplink_kind kind, const char *path,
	struct ivshmem_error *reterr)
{
	struct uplink *uplink = &connection->uplink;
	uint64_t deadline = connection->client->deadline;
	int r = uplink_open(uplink, kind, path, deadline, reterr);

	if (r == 0)
		r = uplink_greet(uplink, deadline, reterr);
	if (r == 0)
		r = kind == UPLINK_OBSERVER ? uplink_await_complete(uplink, deadline, reterr)
					    : settle(connection, reterr);
	if (r == 0 && uplink->socket >= 0)
		r = uplink_listen(uplink, reterr);
	return r;
}

static int
open_connection(struct ivshmem_client *client, enum uplink_kind kind, const char *path,
	struct ivshmem_error *reterr)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int r;

	if (!connection)
		return error_set(reterr, -ENOMEM, "out of memory");
	connection->client = client;
	list_init(&connection->unreported);
	uplink_init(&connection->uplink, &uplink_ops, client->loop, &client->log, -1);
	r = open_uplink(connection, kind, path, reterr);
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
unix_open(struct ivshmem_client *client, const char *path, struct ivshmem_error *reterr)
{
	return open_connection(client, UPLINK_MEMBER, path, reterr);
}

static int
observe_open(struct ivshmem_client *client, const char *path, struct ivshmem_error *reterr)
{
	return open_connection(client, UPLINK_OBSERVER, path, reterr);
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

	return (int)peers_list(
		&connection->uplink.peers, uplink_self(&connection->uplink), ids, max);
}

static int
unix_peer_vectors(const struct ivshmem_client *client, uint16_t peer)
{
	const struct connection *connection = client->state;
	const struct remote *remote = peers_find(&connection->uplink.peers, peer);

	return remote ? (int)remote->n_vectors : -ENOENT;
}

static int
unix_peer_pending(
	const struct ivshmem_client *client, uint16_t peer, unsigned vector, uint64_t *ret_count)
{
	const struct connection *connection = client->state;
	const struct remote *remote = peers_find(&connection->uplink.peers, peer);

	if (!remote)
		return -ENOENT;
	if (vector >= remote->n_vectors)
		return -EINVAL;
	return eventfd_count(remote->vectors[vector], ret_count);
}

static int
unix_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector)
{
	struct connection *connection = client->state;

	return uplink_ring(&connection->uplink, peer, vector);
}

const struct backend backend_unix = {
	.scheme = "unix",
	.open = unix_open,
	.peers = unix_peers,
	.peer_vectors = unix_peer_vectors,
	.peer_pending = unix_peer_pending,
	.ring = unix_ring,
	.close = unix_close,
};

const struct backend backend_observe = {
	.scheme = "observe",
	.without_id = true,
	.open = observe_open,
	.peers = unix_peers,
	.peer_vectors = unix_peer_vectors,
	.peer_pending = unix_peer_pending,
	.ring = unix_ring,
	.close = unix_close,
};
