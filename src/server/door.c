/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * Everything a client will get is made before it is accepted, so that nobody is accepted and then left
 * waiting. Who cannot be admitted is refused with a version message that no client takes for a version, a
 * negative errno: QEMU waits for ever for a server that closes without a word, but reports a wrong version
 * and ends.
 */
#include <server/internal.h>

#include <base/clock.h>
#include <base/fd.h>
#include <wire/wire.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Clients accepted in one round: the others' events wait no longer than that. */
#define ACCEPT_BATCH 128

static const char *
refusal(const struct door *door, int reason)
{
	switch (reason) {
	case -ENOSPC:
		return "no id can be used: all are taken, or were announced to a client that is "
		       "still connected (let those that have been there longest join anew)";
	case -EUSERS:
		return door->kind == PEER_OBSERVER
			       ? "there are as many observers as allowed (--max-observers)"
			       : "there are as many peers as allowed (--max-peers)";
	case -EMFILE:
		return "this process has no file descriptors left (raise its limit, or use fewer vectors)";
	case -ETOOMANYREFS:
		return "too many descriptors that were sent to clients are unread (raise this "
		       "process's limit on file descriptors, or give it CAP_SYS_RESOURCE)";
	case -EBUSY:
		return "this id has its member";
	default:
		return strerror(-reason);
	}
}

/* Takes the socket over. */
static void
door_refuse(struct door *door, int socket, int reason)
{
	const struct wire_message message = {reason, -1};
	struct server *server = door->server;

	if (!door->refusing && door->kind == PEER_HOLDER)
		pace_printf(&server->warnings,
			"new clients for the place of peer %u are refused: %s", door->seat->id,
			refusal(door, reason));
	else if (!door->refusing)
		pace_printf(&server->warnings, "new %s are refused: %s; %u peers are connected",
			door->kind == PEER_OBSERVER ? "observers" : "clients",
			refusal(door, reason), server->roster.n_present);
	door->refusing = true;
	wire_send(socket, &message, 1);
	fd_close(socket);
}

/* Accept and refuse without a descriptor to spare: borrow the one that was kept for it. */
static int
door_accept_spare(struct door *door)
{
	struct server *server = door->server;
	int socket, r = 0;

	server->spare_fd = fd_close(server->spare_fd);
	socket = accept4(door->source.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (socket >= 0)
		door_refuse(door, socket, -EMFILE);
	else
		r = -errno;
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return r;
}

static void
door_resume(struct loop_timer *timer)
{
	struct door *door = container_of(timer, struct door, timer);
	struct server *server = door->server;

	if (server->spare_fd < 0)
		server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	loop_set_events(&door->source, EPOLLIN);
}

static void
door_pause(struct door *door, int error)
{
	struct server *server = door->server;

	if (!door->pausing)
		pace_printf(&server->warnings, "cannot accept clients for now: %s; they wait",
			strerror(-error));
	door->pausing = true;
	loop_set_events(&door->source, 0);
	loop_timer_set(server->config.loop, &door->timer, clock_now() + RETRY, door_resume);
}

static bool
has_gone(int socket)
{
	char byte;

	return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       (errno != EAGAIN && errno != EINTR);
}

static void
door_accept(struct loop_source *source, uint32_t events)
{
	struct door *door = container_of(source, struct door, source);

	(void)events;
	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		int r = server_prepare(door);
		int socket = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		int error = socket < 0 ? -errno : 0;

		if (error == -EMFILE && door->server->spare_fd >= 0) {
			error = door_accept_spare(door);
			if (error == 0)
				continue;
		}
		if (error == -EAGAIN)
			return;
		if (error == -EINTR || error == -ECONNABORTED)
			continue;
		if (error < 0) {
			door_pause(door, error);
			return;
		}
		/* Who has gone again while waiting leaves no trace: no id, nobody told. */
		if (has_gone(socket)) {
			fd_close(socket);
			continue;
		}
		/* Who restarts may be quicker than the news of its end. */
		if (door->holder && has_gone(door->holder->source.fd))
			client_left(door->holder);
		if (r == 0)
			r = door->holder ? -EBUSY : server_admit(door, socket);
		if (r < 0)
			door_refuse(door, socket, r);
		else
			door->refusing = door->pausing = false;
	}
}

int
door_open(struct door *door, struct server *server, enum peer_kind kind, int listen_fd)
{
	door->server = server;
	door->kind = kind;
	return loop_add(server->config.loop, &door->source, listen_fd, EPOLLIN, door_accept);
}

void
door_close(struct door *door)
{
	loop_del(&door->source);
	loop_timer_cancel(&door->timer);
}
