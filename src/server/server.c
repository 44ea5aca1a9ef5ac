/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * Everything a client will get is made before it is accepted: there is always one peer prepared,
 * with id and eventfds, so that nobody is accepted and then left waiting. Who cannot be admitted is
 * refused with a version message that no client takes for a version, a negative errno: QEMU waits
 * for ever for a server that closes without a word, but reports a wrong version and ends.
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
 * wakes up once.
 */
#include <server.h>

#include <clock.h>
#include <fd.h>
#include <ids.h>
#include <list.h>
#include <roster.h>
#include <wire.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Clients accepted, and batches sent, in one round: the others' events wait no longer than that. */
#define ACCEPT_BATCH 128
#define SEND_BATCHES 256

/*
 * Of a client's send buffer: bench/ shows that less costs time, and that more lets stalled clients
 * starve others.
 */
#define UNREAD_SIZE 16384

/* Warnings that clients can cause, at most so many in such a while: nobody fills the disk with them. */
#define WARNINGS_MAX   20
#define WARNINGS_WHILE (10 * NSEC_PER_SEC)

/* How soon to try again when the kernel lacks something and no event tells that it has it again. */
#define RETRY (20 * NSEC_PER_MSEC)

/*
 * When the kernel has taken nothing for so long, newcomers are refused instead of being kept waiting.
 */
#define STARVING_LIMIT (10 * NSEC_PER_SEC)

struct client {
	struct server *server;
	struct peer *peer;
	struct loop_source source; /* source.fd is the socket, owned */
	struct list link;          /* the list of its state */
	uint64_t full_since; /* clock_now() when it last took something; 0 unless it is full */
	int unread;          /* bytes in its full socket then */
	bool fresh;          /* has never been up to date */
	pid_t pid;
	uid_t uid;
};

struct server {
	struct server_config config;
	const struct log *log;
	struct loop_source listen_source;
	struct loop_timer listen_timer; /* ends a pause in accepting */
	struct loop_work send_work;
	struct loop_timer retry_timer; /* for the starved */
	struct loop_timer stall_timer; /* for the first of the full */
	struct list fresh, ready, idle, full, starved;

	struct roster roster;
	struct ids *ids;
	struct peer *prepared; /* for the next client */
	int spare_fd;          /* given up for a moment to refuse a client when there is no other */

	uint64_t warnings_since; /* clock_now() */
	unsigned n_warnings;     /* since then */

	/* Troubles are told once, when they begin. */
	bool refusing, pausing;
	uint64_t starving_since; /* clock_now(); 0 unless somebody starves */
};

static void server_send(struct loop_work *work);
static void server_retry(struct loop_timer *timer);
static void server_stalled(struct loop_timer *timer);
static void server_accept(struct loop_source *source, uint32_t events);

/* A warning that clients can cause: so many at most in a while, then how many more there were. */
static void server_warn(struct server *server, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void
server_warn(struct server *server, const char *format, ...)
{
	uint64_t now = clock_now();
	char message[512];
	va_list args;

	if (now - server->warnings_since > WARNINGS_WHILE) {
		if (server->n_warnings > WARNINGS_MAX)
			log_warning(server->log, "there were %u more warnings like the last ones",
				server->n_warnings - WARNINGS_MAX);
		server->warnings_since = now;
		server->n_warnings = 0;
	}
	if (++server->n_warnings > WARNINGS_MAX)
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	log_warning(server->log, "%s", message);
}

static struct client *
client_at(struct list *link)
{
	return container_of(link, struct client, link);
}

static void
client_move(struct client *client, struct list *state)
{
	list_remove(&client->link);
	list_append(state, &client->link);
}

/* Somebody joined or left: those who were up to date are not any more. */
static void
server_roster_changed(struct server *server)
{
	list_splice(&server->ready, &server->idle);
	loop_defer(server->config.loop, &server->send_work, server_send);
}

/* ---- prepared peers -------------------------------------------------------------------------- */

static void
server_unprepare(struct server *server)
{
	if (server->prepared) {
		ids_release(server->ids, server->prepared->id, false);
		server->prepared = peer_free(server->prepared);
	}
}

/* Has nobody been able to take anything, for longer than `limit`? */
static bool
server_is_stuck(const struct server *server, uint64_t limit)
{
	return server->starving_since && clock_now() - server->starving_since > limit;
}

static int
server_prepare(struct server *server)
{
	uint16_t id;
	int r;

	if (server_is_stuck(server, STARVING_LIMIT))
		return -ETOOMANYREFS;

	if (server->config.max_peers && server->roster.n_present >= server->config.max_peers)
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

/* ---- leaving --------------------------------------------------------------------------------- */

static void
client_remove(struct client *client)
{
	struct server *server = client->server;
	struct peer *peer = client->peer;

	ids_release(server->ids, peer->id, peer->announced);
	roster_leave(&server->roster, peer);
	list_remove(&client->link);
	loop_del(&client->source);
	fd_close(client->source.fd);
	free(client);
	server_roster_changed(server);
}

static void
client_left(struct client *client)
{
	log_debug(client->server->log, "peer %u left", client->peer->id);
	client_remove(client);
}

static void
client_cut(struct client *client, const char *reason)
{
	server_warn(client->server, "peer %u (process %d, user %u) is disconnected: %s",
		client->peer->id, (int)client->pid, (unsigned)client->uid, reason);
	client_remove(client);
}

/* ---- telling --------------------------------------------------------------------------------- */

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
		server_warn(server,
			"the kernel takes no more messages for now (%s); going on as soon as it "
			"does%s",
			strerror(-error),
			error == -ETOOMANYREFS ? ": clients leave unread the descriptors sent to "
						 "them"
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
	loop_defer(server->config.loop, &server->send_work, server_send);
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
			client_cut(hoarder, "it read nothing for longer than the stall time-out, "
					    "while the others waited for it");
	}
	list_splice(&server->ready, &server->starved);
	loop_defer(server->config.loop, &server->send_work, server_send);
}

static void
client_event(struct loop_source *source, uint32_t events)
{
	struct client *client = container_of(source, struct client, source);
	struct server *server = client->server;

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
	if ((events & EPOLLOUT) && client->full_since != 0) {
		bool first = server->full.next == &client->link;

		client->full_since = 0;
		loop_set_events(source, EPOLLIN | EPOLLRDHUP);
		client_move(client, client->fresh ? &server->fresh : &server->ready);
		if (first)
			server_watch_full(server);
		loop_defer(server->config.loop, &server->send_work, server_send);
	}
}

/* ---- joining --------------------------------------------------------------------------------- */

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

/* Takes the socket over if it succeeds. */
static int
server_admit(struct server *server, int socket)
{
	struct client *client = calloc(1, sizeof(*client));
	struct ucred cred;
	socklen_t length = sizeof(cred);
	int r;

	if (!client)
		return -ENOMEM;
	client->server = server;
	client->fresh = true;
	list_init(&client->link);
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &length) == 0) {
		client->pid = cred.pid;
		client->uid = cred.uid;
	}
	r = loop_add(
		server->config.loop, &client->source, socket, EPOLLIN | EPOLLRDHUP, client_event);
	if (r == -ENOSPC)
		r = -ENOMEM; /* max_user_watches: not the lack of ids that ENOSPC stands for here */
	if (r == 0) {
		r = roster_join(&server->roster, server->prepared, ids_stamp(server->ids));
		if (r < 0)
			loop_del(&client->source);
	}
	if (r < 0) {
		free(client);
		return r;
	}
	limit_unread(socket);
	client->peer = server->prepared;
	server->prepared = NULL;
	log_debug(server->log, "peer %u joined (process %d, user %u)", client->peer->id,
		(int)client->pid, (unsigned)client->uid);
	server_roster_changed(server);
	list_append(&server->fresh, &client->link);
	return 0;
}

static const char *
refusal(int reason)
{
	switch (reason) {
	case -ENOSPC:
		return "no id can be used: all are taken, or were announced to a client that is "
		       "still connected";
	case -EUSERS:
		return "there are as many peers as allowed (--max-peers)";
	case -EMFILE:
		return "this process has no file descriptors left (raise its limit, or use fewer "
		       "vectors)";
	case -ETOOMANYREFS:
		return "too many descriptors that were sent to clients are unread (raise this "
		       "process's limit on file descriptors, or give it CAP_SYS_RESOURCE)";
	default:
		return strerror(-reason);
	}
}

/* Takes the socket over. */
static void
server_refuse(struct server *server, int socket, int reason)
{
	const struct wire_message message = {reason, -1};

	if (!server->refusing)
		server_warn(server, "new clients are refused: %s; %u peers are connected",
			refusal(reason), server->roster.n_present);
	server->refusing = true;
	wire_send(socket, &message, 1);
	fd_close(socket);
}

/* Accept and refuse without a descriptor to spare: borrow the one that was kept for it. */
static int
server_accept_spare(struct server *server)
{
	int socket, r = 0;

	server->spare_fd = fd_close(server->spare_fd);
	socket = accept4(server->config.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (socket >= 0)
		server_refuse(server, socket, -EMFILE);
	else
		r = -errno;
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return r;
}

static void
server_resume(struct loop_timer *timer)
{
	struct server *server = container_of(timer, struct server, listen_timer);

	if (server->spare_fd < 0)
		server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	loop_set_events(&server->listen_source, EPOLLIN);
}

static void
server_pause(struct server *server, int error)
{
	if (!server->pausing)
		server_warn(
			server, "cannot accept clients for now: %s; they wait", strerror(-error));
	server->pausing = true;
	loop_set_events(&server->listen_source, 0);
	loop_timer_set(
		server->config.loop, &server->listen_timer, clock_now() + RETRY, server_resume);
}

static bool
has_gone(int socket)
{
	char byte;

	return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       (errno != EAGAIN && errno != EINTR);
}

static void
server_accept(struct loop_source *source, uint32_t events)
{
	struct server *server = container_of(source, struct server, listen_source);

	(void)events;
	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		int r = server_prepare(server);
		int socket = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		int error = socket < 0 ? -errno : 0;

		if (error == -EMFILE && server->spare_fd >= 0) {
			error = server_accept_spare(server);
			if (error == 0)
				continue;
		}
		if (error == -EAGAIN)
			return;
		if (error == -EINTR || error == -ECONNABORTED)
			continue;
		if (error < 0) {
			server_pause(server, error);
			return;
		}
		/* Who has gone again while waiting leaves no trace: no id, nobody told. */
		if (has_gone(socket)) {
			fd_close(socket);
			continue;
		}
		if (r == 0)
			r = server_admit(server, socket);
		if (r < 0)
			server_refuse(server, socket, r);
		else
			server->refusing = server->pausing = false;
	}
}

/* ---- the server ------------------------------------------------------------------------------ */

int
server_new(struct server **ret_server, const struct server_config *config)
{
	struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	server->config = *config;
	server->log = config->log;
	list_init(&server->fresh);
	list_init(&server->ready);
	list_init(&server->idle);
	list_init(&server->full);
	list_init(&server->starved);
	roster_init(&server->roster, config->memory_fd);
	server->spare_fd = -1;
	server->ids = calloc(1, sizeof(*server->ids));
	if (!server->ids) {
		free(server);
		return -ENOMEM;
	}
	ids_init(server->ids);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = server_prepare(server);
	if (r == 0)
		r = loop_add(config->loop, &server->listen_source, config->listen_fd, EPOLLIN,
			server_accept);
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
	struct list *const states[] = {
		&server->fresh, &server->ready, &server->idle, &server->full, &server->starved};

	loop_del(&server->listen_source);
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		list_for_each_safe (link, states[i]) {
			struct client *client = client_at(link);

			loop_del(&client->source);
			fd_close(client->source.fd);
			free(client);
		}
	roster_done(&server->roster);
	server_unprepare(server);
	loop_timer_cancel(&server->listen_timer);
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
