/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the server is made of: clients become peers and leave. There is always one peer prepared, with id
 * and eventfds, for the next client without a seat; the eventfds of the seats are there from the start.
 */
#include <server/internal.h>

#include <base/clock.h>
#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/*
 * Of a client's send buffer: bench/ shows that less costs time, and that more lets stalled clients
 * starve others.
 */
#define UNREAD_SIZE 16384

/*
 * When the kernel has taken nothing for so long, newcomers are refused instead of being kept waiting.
 */
#define STARVING_LIMIT (10 * NSEC_PER_SEC)

/* Ids are counted when so many have been used up since the last time. */
#define COUNT_IDS_EVERY 256

/* Used up to so many per cent is told; the warning may come again when it was less than that. */
#define IDS_WARN_PERCENT 80

/* Who comes and goes. With -v all of it, because that was asked for. */
static void __attribute__((format(printf, 2, 3)))
server_tell(struct server *server, const char *format, ...)
{
	char message[512];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (log_enabled(server->log, LOG_LEVEL_DEBUG))
		log_info(server->log, "%s", message);
	else
		pace_printf(&server->news, "%s", message);
}

/* ---- ids ------------------------------------------------------------------------------------- */

/* Tell in time that the ids will run out, once, and again when there were more in between. */
static void
server_watch_ids(struct server *server)
{
	const struct peer *oldest = roster_oldest_peer(&server->roster);
	uint32_t spent;

	server->released = 0;
	spent = ids_spent(server->ids, roster_oldest(&server->roster));
	if (spent < IDS_COUNT / 100 * IDS_WARN_PERCENT) {
		server->warned_of_ids = false;
		return;
	}
	if (server->warned_of_ids || !oldest)
		return;
	server->warned_of_ids = true;
	pace_printf(&server->warnings,
		"%u of %d ids are used up: one that was announced cannot come again while a "
		"client that was there is connected; peer %u has been there longest, and when it "
		"leaves, ids come free; clients that only look can do so without an id%s",
		spent, IDS_COUNT, oldest->id,
		server->observers.server ? ", on the observers' socket"
					 : " if there is an observers' socket (--observer-socket)");
}

/* After the roster has let its holder go, or the warning could name who is leaving. */
static void
server_release_id(struct server *server, uint16_t id, bool announced)
{
	ids_release(server->ids, id, announced);
	if (announced && ++server->released >= COUNT_IDS_EVERY)
		server_watch_ids(server);
}

/* ---- joining --------------------------------------------------------------------------------- */

static int
server_prepare_member(struct server *server)
{
	uint16_t id;
	int r;

	/* Seats are kept free for those who are entitled to them. */
	if (server->config.max_peers &&
		server->n_members + server->config.n_seats >= server->config.max_peers)
		return -EUSERS;
	if (server->prepared)
		return 0;
	r = ids_take(server->ids, roster_oldest(&server->roster), &id);
	if (r < 0)
		return r;
	r = peer_new(&server->prepared, id, server->config.n_vectors);
	if (r < 0)
		ids_release(server->ids, id, false);
	return r;
}

int
server_prepare(struct door *door)
{
	struct server *server = door->server;

	if (server_is_stuck(server, STARVING_LIMIT))
		return -ETOOMANYREFS;
	if (door->kind == PEER_MEMBER)
		return server_prepare_member(server);
	if (door->kind == PEER_OBSERVER &&
		server->roster.n_observers >= server->config.max_observers)
		return -EUSERS;
	return 0;
}

/*
 * Descriptors that were sent but not read count against what all clients together may be sent, so
 * each gets room for some forty only: it takes many who do not read to starve the others.
 */
static void
limit_unread(int socket)
{
	const int size = UNREAD_SIZE;

	setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* The peer that who came in becomes. What is returned and not joined is freed by the caller. */
static int
server_make_peer(struct door *door, struct peer **ret_peer)
{
	struct server *server = door->server;
	int r;

	if (door->kind == PEER_OBSERVER)
		return peer_new_observer(ret_peer);
	if (door->kind == PEER_MEMBER) {
		*ret_peer = server->prepared;
		return 0;
	}
	/* Known to the others from now on, and for good. */
	if (!door->taken) {
		r = roster_join(&server->roster, door->seat, ids_stamp(server->ids));
		if (r < 0)
			return r;
		door->taken = true;
	}
	return peer_new_holder(ret_peer, door->seat);
}

static void
client_joined(struct client *client, struct door *door)
{
	struct server *server = client->server;
	char who[PROCESS_TEXT_MAX];

	process_describe(&client->process, who);
	/* Observers come by the second where somebody watches with `ivshmem info`. */
	if (door->kind == PEER_OBSERVER) {
		log_debug(server->log, "an observer came (%s)", who);
		list_append(&server->ready, &client->link);
		server_send_later(server);
		return;
	}
	server_tell(server, "peer %u joined (%s)", client->peer->id, who);
	if (door->kind == PEER_MEMBER) {
		server->prepared = NULL;
		server->n_members++;
	} else {
		client->door = door;
		door->holder = client;
	}
	client->fresh = true;
	list_append(&server->fresh, &client->link);
	server_roster_changed(server);
}

int
server_admit(struct door *door, int socket)
{
	struct server *server = door->server;
	struct client *client = calloc(1, sizeof(*client));
	struct peer *peer = NULL;
	int r;

	if (!client)
		return -ENOMEM;
	client->server = server;
	list_init(&client->link);
	client->process = process_behind(socket);
	r = loop_add(
		server->config.loop, &client->source, socket, EPOLLIN | EPOLLRDHUP, client_event);
	if (r == -ENOSPC)
		r = -ENOMEM; /* max_user_watches: not the lack of ids that ENOSPC stands for here */
	if (r == 0) {
		r = server_make_peer(door, &peer);
		if (r == 0)
			r = roster_join(&server->roster, peer, ids_stamp(server->ids));
		if (r < 0)
			loop_del(&client->source);
	}
	if (r != 0) {
		if (peer != server->prepared)
			peer_free(peer);
		free(client);
		return r;
	}
	limit_unread(socket);
	client->peer = peer;
	client_joined(client, door);
	return 0;
}

/* ---- leaving --------------------------------------------------------------------------------- */

static void
client_remove(struct client *client)
{
	struct server *server = client->server;
	struct peer *peer = client->peer;
	enum peer_kind kind = peer->kind;
	bool announced = peer->announced;
	uint16_t id = peer->id;

	if (client->door)
		client->door->holder = NULL;
	list_remove(&client->link);
	loop_del(&client->source);
	fd_close(client->source.fd);
	free(client);
	roster_leave(&server->roster, peer);
	if (kind == PEER_MEMBER) {
		server->n_members--;
		server_release_id(server, id, announced);
	}
	/* Nobody hears of an observer. */
	if (kind != PEER_OBSERVER)
		server_roster_changed(server);
}

void
client_left(struct client *client)
{
	char who[PROCESS_TEXT_MAX];

	process_describe(&client->process, who);
	if (client->peer->kind == PEER_OBSERVER)
		log_debug(client->server->log, "an observer left (%s)", who);
	else
		server_tell(client->server, "peer %u left (%s)", client->peer->id, who);
	client_remove(client);
}

void
client_cut(struct client *client, const char *reason)
{
	struct server *server = client->server;
	char who[PROCESS_TEXT_MAX];

	process_describe(&client->process, who);
	if (client->peer->kind == PEER_OBSERVER)
		pace_printf(&server->warnings, "an observer (%s) is disconnected: %s", who, reason);
	else
		pace_printf(&server->warnings, "peer %u (%s) is disconnected: %s", client->peer->id,
			who, reason);
	client_remove(client);
}

void
client_event(struct loop_source *source, uint32_t events)
{
	struct client *client = container_of(source, struct client, source);

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		char byte;
		ssize_t n = recv(source->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

		/* An urgent byte makes the socket readable, but is not to be had by reading. */
		if (n > 0 || (n < 0 && errno == EAGAIN && (events & EPOLLIN))) {
			client_cut(client, "it sent something, but clients must not");
			return;
		}
		if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			client_left(client);
			return;
		}
	}
	if ((events & EPOLLOUT) && client->full_since != 0)
		client_resume(client);
}

/* ---- the server ------------------------------------------------------------------------------ */

static int
server_make_seats(struct server *server)
{
	const struct server_config *config = &server->config;

	if (config->n_seats == 0)
		return 0;
	server->seats = calloc(config->n_seats, sizeof(*server->seats));
	if (!server->seats)
		return -ENOMEM;
	for (unsigned i = 0; i < config->n_seats; i++) {
		struct door *door = &server->seats[i];
		int r = ids_reserve(server->ids, config->seats[i].id);

		if (r == 0)
			r = peer_new_seat(&door->seat, config->seats[i].id, config->n_vectors);
		if (r == 0)
			r = door_open(door, server, PEER_HOLDER, config->seats[i].listen_fd);
		if (r < 0)
			return r;
	}
	return 0;
}

int
server_new(struct server **ret_server, const struct server_config *config)
{
	struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	server->config = *config;
	server->log = config->log;
	server->warnings = (struct pace){.log = config->log, .level = LOG_LEVEL_WARNING};
	server->news = (struct pace){.log = config->log, .level = LOG_LEVEL_INFO};
	list_init(&server->fresh);
	list_init(&server->ready);
	list_init(&server->idle);
	list_init(&server->full);
	list_init(&server->starved);
	roster_init(&server->roster, config->memory_fd, config->n_vectors);
	server->spare_fd = -1;
	server->ids = calloc(1, sizeof(*server->ids));
	if (!server->ids) {
		free(server);
		return -ENOMEM;
	}
	ids_init(server->ids);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = server_make_seats(server);
	if (r == 0)
		r = server_prepare_member(server);
	/* All ids may have seats, or as many as there may be peers: then there is no other client. */
	if (r == -EUSERS || r == -ENOSPC)
		r = 0;
	if (r == 0)
		r = door_open(&server->members, server, PEER_MEMBER, config->listen_fd);
	if (r == 0 && config->max_observers > 0)
		r = door_open(
			&server->observers, server, PEER_OBSERVER, config->observer_listen_fd);
	if (r < 0) {
		server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

struct server *
server_free(struct server *server)
{
	if (!server)
		return NULL;
	pace_end(&server->warnings);
	pace_end(&server->news);
	struct list *const states[] = {
		&server->fresh, &server->ready, &server->idle, &server->full, &server->starved};

	door_close(&server->members);
	door_close(&server->observers);
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		list_for_each_safe (link, states[i]) {
			struct client *client = client_at(link);

			loop_del(&client->source);
			fd_close(client->source.fd);
			free(client);
		}
	roster_done(&server->roster);
	for (unsigned i = 0; server->seats && i < server->config.n_seats; i++) {
		door_close(&server->seats[i]);
		peer_free(server->seats[i].seat);
	}
	free(server->seats);
	peer_free(server->prepared);
	loop_timer_cancel(&server->retry_timer);
	loop_timer_cancel(&server->stall_timer);
	loop_work_cancel(&server->send_work);
	fd_close(server->spare_fd);
	free(server->ids);
	free(server);
	return NULL;
}

uint32_t
server_n_peers(const struct server *server)
{
	return server->roster.n_present;
}

unsigned
server_capacity(unsigned long limit, unsigned used, unsigned n_vectors)
{
	unsigned long peers = limit > used ? (limit - used) / (1 + n_vectors) : 0;

	return peers > IVSHMEM_MAX_ID + 1 ? IVSHMEM_MAX_ID + 1 : (unsigned)peers;
}
