/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * A client is in one of five states. Each state is a list:
 *
 *	fresh	  a newcomer that does not know everybody yet; is sent to before most others
 *	ready	  has something to be told; one batch for each in turn
 *	idle	  is up to date
 *	full	  its socket takes no more
 *	starved	  memory is missing, or the kernel takes no more descriptors from anybody
 *
 * These events move it:
 *
 *	event						from		to
 *	it joins					-		fresh; an observer: ready
 *	a member or a holder joins or leaves		idle		ready
 *	a batch was sent, and nothing is left		fresh, ready	idle
 *	a batch was sent, and more is left		fresh, ready	the end of its list
 *	sending: the socket is full			fresh, ready	full
 *	EPOLLOUT					full		fresh until it was idle, then ready
 *	sending: no memory, or no more descriptors	fresh, ready	starved
 *	the retry timer					starved		ready
 *
 * It leaves from any state: when it closes its end, sends a byte, or its socket fails. From the
 * state full it leaves when it has read nothing for the stall limit. While others starve for that
 * long, the client that leaves most unread leaves, too.
 *
 * A round of the loop may bring many joins and leaves. They go to the roster at once, and the
 * messages go out at the end of the round, so that each client gets them in few system calls and
 * wakes up once. An observer is never fresh, because it must not delay peers.
 */
#include <server/clients.h>

#include <base/fd.h>
#include <server/journal.h>
#include <trace/trace.h>
#include <wire/wire.h>

#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Batches sent in one round. The events of the others wait no longer than that. */
#define SEND_BATCHES 256

/*
 * The size of a client's send buffer: bench/ shows that less costs time, and that more lets stalled
 * clients starve others.
 */
#define UNREAD_SIZE 16384

static void clients_send(struct loop_work *work);
static void clients_retry(struct loop_timer *timer);
static void clients_stalled(struct loop_timer *timer);

static struct client *
client_at(struct list *link)
{
	return container_of(link, struct client, link);
}

static bool
observes(const struct client *client)
{
	return client->peer->kind == PEER_OBSERVER;
}

/* For the trace. */
static int
peer_number(const struct client *client)
{
	return observes(client) ? -1 : client->peer->id;
}

static void
client_move(struct client *client, struct list *state)
{
	list_remove(&client->link);
	list_append(state, &client->link);
}

static void
clients_send_later(struct clients *clients)
{
	loop_defer(clients->loop, &clients->send_work, clients_send);
}

/* Somebody joined or left: clients that were up to date are not any more. */
static void
clients_roster_changed(struct clients *clients)
{
	list_splice(&clients->ready, &clients->idle);
	clients_send_later(clients);
}

bool
clients_are_stuck(const struct clients *clients, uint64_t limit)
{
	return clients->starving_since && clock_now() - clients->starving_since > limit;
}

/* ---- leaving --------------------------------------------------------------------------------- */

/* Tell who comes and goes; with -v without a limit, because the user asked for it. */
static void __attribute__((format(printf, 2, 3)))
clients_tell(struct clients *clients, const char *format, ...)
{
	char message[512];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (log_enabled(clients->log, LOG_LEVEL_DEBUG))
		log_info(clients->log, "%s", message);
	else
		pace_printf(&clients->news, "%s", message);
}

static void
client_close(struct client *client)
{
	int socket = client->source.fd;

	list_remove(&client->link);
	client_free(client);
	fd_close(socket);
}

static void
client_remove(struct client *client)
{
	struct clients *clients = client->clients;
	struct door *door = client->door;
	struct peer *peer = client->peer;
	bool announced = peer->announced, observer = observes(client);
	uint16_t id = peer->id;

	journal_make_room(clients->journal);
	journal_leaving(clients->journal, client->source.fd);
	client_close(client);
	roster_leave(clients->roster, peer);
	clients->left(door, id, announced);
	journal_closed(clients->journal);
	/* Nobody hears of an observer. */
	if (!observer)
		clients_roster_changed(clients);
}

void
client_left(struct client *client)
{
	char who[PROCESS_TEXT_MAX];

	process_describe(&client->process, who);
	TRACE(server_left, peer_number(client), client->process.pid);
	if (observes(client))
		log_debug(client->clients->log, "an observer left (%s)", who);
	else
		clients_tell(client->clients, "peer %u left (%s)", client->peer->id, who);
	client_remove(client);
}

/* We close our end. */
static void
client_cut(struct client *client, int error, const char *reason)
{
	struct pace *warnings = client->clients->warnings;
	char who[PROCESS_TEXT_MAX];

	process_describe(&client->process, who);
	TRACE(server_cut, peer_number(client), client->process.pid, error);
	if (observes(client))
		pace_printf(warnings, "an observer (%s) is disconnected: %s", who, reason);
	else
		pace_printf(warnings, "peer %u (%s) is disconnected: %s", client->peer->id, who,
			reason);
	client_remove(client);
}

/* ---- full ------------------------------------------------------------------------------------ */

static void
clients_watch_full(struct clients *clients)
{
	struct client *first;

	if (clients->stall_limit_ns == 0)
		return;
	if (list_empty(&clients->full)) {
		loop_timer_cancel(&clients->stall_timer);
		return;
	}
	first = client_at(clients->full.next);
	loop_timer_set(clients->loop, &clients->stall_timer,
		first->full_since + clients->stall_limit_ns, clients_stalled);
}

/* Bytes sent to the client that it has not read. */
static int
client_unread(const struct client *client)
{
	int unread;

	return ioctl(client->source.fd, SIOCOUTQ, &unread) == 0 ? unread : 0;
}

static void
clients_stalled(struct loop_timer *timer)
{
	struct clients *clients = container_of(timer, struct clients, stall_timer);
	uint64_t now = clock_now();

	while (!list_empty(&clients->full)) {
		struct client *client = client_at(clients->full.next);
		int unread = client_unread(client);

		if (client->full_since + clients->stall_limit_ns > now)
			break;
		if (unread < client->unread) {
			/* It reads, but too slowly for EPOLLOUT to have come. */
			client->unread = unread;
			client->full_since = now;
			client_move(client, &clients->full);
			continue;
		}
		client_cut(
			client, -ETIMEDOUT, "it read nothing for longer than the stall time-out");
	}
	clients_watch_full(clients);
}

static void
client_full(struct client *client)
{
	struct clients *clients = client->clients;

	client->full_since = clock_now();
	client->unread = client_unread(client);
	TRACE(server_full, peer_number(client), client->unread);
	client_move(client, &clients->full);
	loop_set_events(&client->source, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
	if (clients->full.next == &client->link)
		clients_watch_full(clients);
}

/* Its full socket takes more. */
static void
client_resume(struct client *client)
{
	struct clients *clients = client->clients;
	bool first = clients->full.next == &client->link;

	TRACE(server_resumed, peer_number(client));
	client->full_since = 0;
	loop_set_events(&client->source, EPOLLIN | EPOLLRDHUP);
	client_move(client, client->fresh ? &clients->fresh : &clients->ready);
	if (first)
		clients_watch_full(clients);
	clients_send_later(clients);
}

/* ---- starved --------------------------------------------------------------------------------- */

static void
client_starved(struct client *client, int error)
{
	struct clients *clients = client->clients;

	if (!clients->starving_since) {
		pace_printf(clients->warnings,
			"the kernel takes no more messages for now (%s); going on as soon as it does%s",
			strerror(-error),
			error == -ETOOMANYREFS
				? ": clients leave unread the descriptors sent to them"
				: "");
		clients->starving_since = clock_now();
	}
	TRACE(server_starved, peer_number(client), error);
	client_move(client, &clients->starved);
	loop_timer_set(clients->loop, &clients->retry_timer, clock_now() + RETRY, clients_retry);
}

/*
 * Descriptors that the server sent and nobody has read count against all that this user may send.
 * Find the client that leaves most unread.
 */
static struct client *
clients_find_hoarder(struct clients *clients)
{
	struct list *const states[] = {&clients->idle, &clients->full, &clients->starved};
	struct client *hoarder = NULL;
	int most = 0;

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		list_for_each (link, states[i]) {
			int unread = client_unread(client_at(link));

			if (unread > most) {
				hoarder = client_at(link);
				most = unread;
			}
		}
	return hoarder;
}

/* Give the starved another try. */
static void
clients_retry(struct loop_timer *timer)
{
	struct clients *clients = container_of(timer, struct clients, retry_timer);

	if (list_empty(&clients->starved))
		return;
	/* A client that had read anything would have made room for a message. */
	if (clients->stall_limit_ns != 0 && clients_are_stuck(clients, clients->stall_limit_ns)) {
		struct client *hoarder = clients_find_hoarder(clients);

		if (hoarder)
			client_cut(hoarder, -ETIMEDOUT,
				"it read nothing for longer than the stall time-out, while the others waited for it");
	}
	list_splice(&clients->ready, &clients->starved);
	clients_send_later(clients);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Send one batch, and move the client to the state that follows. */
static void
client_send(struct client *client)
{
	struct clients *clients = client->clients;
	struct wire_message messages[WIRE_SEND_MAX];
	int n, sent = 0;

	journal_make_room(clients->journal);
	n = roster_next(clients->roster, client->peer, messages, WIRE_SEND_MAX);
	if (n > 0) {
		journal_telling(clients->journal, client->source.fd, (unsigned)n);
		sent = wire_send_noted(client->source.fd, messages, (unsigned)n,
			journal_headers(clients->journal));
		journal_told(clients->journal, sent);
	}
	if (sent > 0) {
		roster_told(clients->roster, client->peer, (unsigned)sent);
		/* Somebody reads: what others lack comes free, if slowly. */
		if (clients->starving_since)
			clients->starving_since = clock_now();
	}

	if (n < 0) {
		client_starved(client, n);
	} else if (sent == n && n < WIRE_SEND_MAX) {
		client->fresh = false;
		client_move(client, &clients->idle);
	} else if (sent == n) {
		client_move(client, client->fresh ? &clients->fresh : &clients->ready);
	} else if (sent >= 0 || sent == -EAGAIN) {
		client_full(client);
	} else if (sent == -ETOOMANYREFS || sent == -ENOBUFS || sent == -ENOMEM) {
		client_starved(client, sent);
	} else if (sent == -EPIPE || sent == -ECONNRESET) {
		client_left(client);
	} else {
		client_cut(client, sent, strerror(-sent));
	}
}

static void
clients_send(struct loop_work *work)
{
	struct clients *clients = container_of(work, struct clients, send_work);

	for (unsigned i = 0; i < SEND_BATCHES; i++) {
		/* The others have their turn, too, or a flow of newcomers would keep them from
		 * hearing of it. */
		bool others =
			list_empty(&clients->fresh) || (i % 4 == 3 && !list_empty(&clients->ready));
		struct list *state = others ? &clients->ready : &clients->fresh;

		if (list_empty(state)) {
			if (list_empty(&clients->starved))
				clients->starving_since = 0;
			return;
		}
		client_send(client_at(state->next));
	}
	clients_send_later(clients);
}

/* ---- joining --------------------------------------------------------------------------------- */

/* Something came from the client, or its socket takes more. */
static void
client_event(struct loop_source *source, uint32_t events)
{
	struct client *client = container_of(source, struct client, source);

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		char byte;
		ssize_t n = recv(source->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

		/* An urgent byte makes the socket readable, but recv() does not return it. */
		if (n > 0 || (n < 0 && errno == EAGAIN && (events & EPOLLIN))) {
			client_cut(client, -EPROTO, "it sent something, but clients must not");
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

int
client_new(struct client **ret_client, struct clients *clients, struct door *door, int socket)
{
	struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	client->clients = clients;
	client->door = door;
	client->process = process_behind(socket);
	list_init(&client->link);
	r = loop_add(clients->loop, &client->source, socket, EPOLLIN | EPOLLRDHUP, client_event);
	if (r < 0) {
		free(client);
		/* max_user_watches: not the lack of ids that ENOSPC stands for in the server. */
		return r == -ENOSPC ? -ENOMEM : r;
	}
	*ret_client = client;
	return 0;
}

void
client_free(struct client *client)
{
	loop_del(&client->source);
	free(client);
}

/*
 * Descriptors that were sent but not read count against what all clients together may be sent. So
 * the socket of each client has room for about forty only: it takes many clients that do not read
 * to starve the others.
 */
static void
limit_unread(int socket)
{
	const int size = UNREAD_SIZE;

	setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

int
client_join(struct client *client, struct peer *peer, uint64_t stamp)
{
	struct clients *clients = client->clients;
	char who[PROCESS_TEXT_MAX];
	int r = roster_join(clients->roster, peer, stamp);

	if (r < 0)
		return r;
	client->peer = peer;
	limit_unread(client->source.fd);
	process_describe(&client->process, who);
	TRACE(server_joined, peer_number(client), client->process.pid, client->process.uid);
	/* Observers come by the second where somebody watches with `ivshmem info`. */
	if (observes(client)) {
		log_debug(clients->log, "an observer came (%s)", who);
		list_append(&clients->ready, &client->link);
		clients_send_later(clients);
		return 0;
	}
	clients_tell(clients, "peer %u joined (%s)", peer->id, who);
	client->fresh = true;
	list_append(&clients->fresh, &client->link);
	clients_roster_changed(clients);
	return 0;
}

void
client_continue(struct client *client, struct peer *peer, bool fresh, bool full)
{
	struct clients *clients = client->clients;

	client->peer = peer;
	client->fresh = fresh;
	list_append(fresh ? &clients->fresh : &clients->ready, &client->link);
	if (full)
		client_full(client);
	else
		clients_send_later(clients);
}

/* ---- all of them ----------------------------------------------------------------------------- */

void
clients_init(struct clients *clients)
{
	clients->news = (struct pace){.log = clients->log, .level = LOG_LEVEL_INFO};
	for (unsigned i = 0; i < CLIENT_STATES; i++)
		list_init(&clients->states[i]);
}

void
clients_done(struct clients *clients)
{
	pace_end(&clients->news);
	for (unsigned i = 0; i < CLIENT_STATES; i++)
		list_for_each_safe (link, &clients->states[i])
			client_close(client_at(link));
	loop_timer_cancel(&clients->retry_timer);
	loop_timer_cancel(&clients->stall_timer);
	loop_work_cancel(&clients->send_work);
}
