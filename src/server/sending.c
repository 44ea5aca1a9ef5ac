/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * A client is in one of these states, each of which is a list:
 *
 *	fresh	  has not caught up yet		sent to before most others
 *	ready	  has something to be told	sent to in turn, one batch each
 *	idle	  is up to date			any join or leave makes it ready
 *	full	  its socket takes no more	waits for EPOLLOUT, or is cut if that takes too long
 *	starved	  the kernel takes no more	waits for a timer, because no event tells when it does
 *
 * What happens in one round of the loop, such as a hundred clients that join or leave at once, is
 * put on the roster first and sent at its end, so that each client gets it in few system calls and
 * wakes up once. An observer is never fresh: who only looks goes before nobody.
 */
#include <server/internal.h>

#include <base/clock.h>
#include <wire/wire.h>

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

/* Batches sent in one round: the others' events wait no longer than that. */
#define SEND_BATCHES 256

static void server_send(struct loop_work *work);
static void server_retry(struct loop_timer *timer);
static void server_stalled(struct loop_timer *timer);

static void
client_move(struct client *client, struct list *state)
{
	list_remove(&client->link);
	list_append(state, &client->link);
}

void
server_send_later(struct server *server)
{
	loop_defer(server->config.loop, &server->send_work, server_send);
}

void
server_roster_changed(struct server *server)
{
	list_splice(&server->ready, &server->idle);
	server_send_later(server);
}

bool
server_is_stuck(const struct server *server, uint64_t limit)
{
	return server->starving_since && clock_now() - server->starving_since > limit;
}

static void
server_watch_full(struct server *server)
{
	struct client *first;

	if (server->config.stall_limit_ns == 0)
		return;
	if (list_empty(&server->full)) {
		loop_timer_cancel(&server->stall_timer);
		return;
	}
	first = client_at(server->full.next);
	loop_timer_set(server->config.loop, &server->stall_timer,
		first->full_since + server->config.stall_limit_ns, server_stalled);
}

/* Bytes sent to the client that it has not read. */
static int
client_unread(const struct client *client)
{
	int unread;

	return ioctl(client->source.fd, SIOCOUTQ, &unread) == 0 ? unread : 0;
}

static void
server_stalled(struct loop_timer *timer)
{
	struct server *server = container_of(timer, struct server, stall_timer);
	uint64_t now = clock_now();

	while (!list_empty(&server->full)) {
		struct client *client = client_at(server->full.next);
		int unread = client_unread(client);

		if (client->full_since + server->config.stall_limit_ns > now)
			break;
		if (unread < client->unread) {
			/* It reads, only too slowly for EPOLLOUT to have come. */
			client->unread = unread;
			client->full_since = now;
			client_move(client, &server->full);
			continue;
		}
		client_cut(client, "it read nothing for longer than the stall time-out");
	}
	server_watch_full(server);
}

static void
client_full(struct client *client)
{
	struct server *server = client->server;

	client->full_since = clock_now();
	client->unread = client_unread(client);
	client_move(client, &server->full);
	loop_set_events(&client->source, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
	if (server->full.next == &client->link)
		server_watch_full(server);
}

static void
client_starved(struct client *client, int error)
{
	struct server *server = client->server;

	if (!server->starving_since) {
		pace_printf(&server->warnings,
			"the kernel takes no more messages for now (%s); going on as soon as it does%s",
			strerror(-error),
			error == -ETOOMANYREFS
				? ": clients leave unread the descriptors sent to them"
				: "");
		server->starving_since = clock_now();
	}
	client_move(client, &server->starved);
	loop_timer_set(
		server->config.loop, &server->retry_timer, clock_now() + RETRY, server_retry);
}

/* Send one batch and put the client where it belongs then. */
static void
client_send(struct client *client)
{
	struct server *server = client->server;
	struct wire_message messages[WIRE_SEND_MAX];
	int n, sent = 0;

	n = roster_next(&server->roster, client->peer, messages, WIRE_SEND_MAX);
	if (n > 0)
		sent = wire_send(client->source.fd, messages, (unsigned)n);
	if (sent > 0) {
		roster_told(&server->roster, client->peer, (unsigned)sent);
		/* Somebody reads: what others lack comes free, if slowly. */
		if (server->starving_since)
			server->starving_since = clock_now();
	}

	if (n < 0) {
		client_starved(client, n);
	} else if (sent == n && n < WIRE_SEND_MAX) {
		client->fresh = false;
		client_move(client, &server->idle);
	} else if (sent == n) {
		client_move(client, client->fresh ? &server->fresh : &server->ready);
	} else if (sent >= 0 || sent == -EAGAIN) {
		client_full(client);
	} else if (sent == -ETOOMANYREFS || sent == -ENOBUFS || sent == -ENOMEM) {
		client_starved(client, sent);
	} else if (sent == -EPIPE || sent == -ECONNRESET) {
		client_left(client);
	} else {
		client_cut(client, strerror(-sent));
	}
}

static void
server_send(struct loop_work *work)
{
	struct server *server = container_of(work, struct server, send_work);

	for (unsigned i = 0; i < SEND_BATCHES; i++) {
		/* The others have their turn too, or a flow of newcomers would keep them from
		 * hearing of it. */
		bool others =
			list_empty(&server->fresh) || (i % 4 == 3 && !list_empty(&server->ready));
		struct list *state = others ? &server->ready : &server->fresh;

		if (list_empty(state)) {
			if (list_empty(&server->starved))
				server->starving_since = 0;
			return;
		}
		client_send(client_at(state->next));
	}
	server_send_later(server);
}

/*
 * Descriptors that are sent and not read count against all that this user sends: find who holds most.
 */
static struct client *
server_find_hoarder(struct server *server)
{
	struct list *const states[] = {&server->idle, &server->full, &server->starved};
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
server_retry(struct loop_timer *timer)
{
	struct server *server = container_of(timer, struct server, retry_timer);

	if (list_empty(&server->starved))
		return;
	/* Whoever had read anything would have made room for some message. */
	if (server->config.stall_limit_ns != 0 &&
		server_is_stuck(server, server->config.stall_limit_ns)) {
		struct client *hoarder = server_find_hoarder(server);

		if (hoarder)
			client_cut(hoarder,
				"it read nothing for longer than the stall time-out, while the others waited for it");
	}
	list_splice(&server->ready, &server->starved);
	server_send_later(server);
}

void
client_resume(struct client *client)
{
	struct server *server = client->server;
	bool first = server->full.next == &client->link;

	client->full_since = 0;
	loop_set_events(&client->source, EPOLLIN | EPOLLRDHUP);
	client_move(client, client->fresh ? &server->fresh : &server->ready);
	if (first)
		server_watch_full(server);
	server_send_later(server);
}
