/* SPDX-License-Identifier: BSD-2-Clause */

/* Who comes to forward and listen. */

#include "forwarding.h"

#include "output.h"

#include <base/fd.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

struct ivshmem_channel *
forwarding_take_waiting(struct forward *forward)
{
	struct ivshmem_channel *channel = forward->waiting;

	forward->waiting = NULL;
	return channel;
}

static void
wait_for_room(struct forward *forward, int error)
{
	char who[128];

	snprintf(who, sizeof(who), "connection %u of '%s', which waits", forward->n_links + 1,
		forward->name);
	serving_wait_for_room(&forward->serving, who, error);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* A channel for this connection. Takes the socket over, except on -EAGAIN: there is no room. */
static int
connect_channel(struct forward *forward, int fd)
{
	struct ivshmem_channel *channel;
	struct ivshmem_error error;
	int r = ivshmem_connect(&channel, forward->serving.participant, forward->name,
		IVSHMEM_STREAM, &forward->options, 0, &error);

	if (r == 0) {
		forwarding_add_link(forward, channel, fd, fd, false);
		return 0;
	}
	if (serving_is_shortage(r)) {
		wait_for_room(forward, r);
		return -EAGAIN;
	}
	if (serving_is_fatal(r))
		serving_stop(&forward->serving, r);
	else
		fail("%s", error.message);
	fd_close(fd);
	return r;
}

static void
take_connections(struct forward *forward)
{
	int on = 1;

	while (serving_may_go_on(&forward->serving)) {
		int fd = forward->held;

		if (fd < 0)
			fd = accept4(forward->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && serving_is_shortage(-errno)) {
			wait_for_room(forward, -errno);
			return;
		}
		if (fd < 0) {
			/* Whatever happened to one that came, there may be others. */
			if (errno == EAGAIN)
				forward->serving.may_accept = false;
			else
				serving_try_later(&forward->serving);
			continue;
		}
		if (forward->endpoint.kind == ENDPOINT_VSOCK) {
			forwarding_add_link(forward, NULL, fd, fd, false);
			continue;
		}
		if (forward->endpoint.kind == ENDPOINT_TCP)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		/* If nobody takes it, that must not look like an empty answer. */
		endpoint_reset_on_close(fd, true);
		forward->held = connect_channel(forward, fd) == -EAGAIN ? fd : -1;
	}
}

/* ---- listen ---------------------------------------------------------------------------------- */

/* A connection for the channel that waits. -EAGAIN: later. */
static int
connect_endpoint(struct forward *forward)
{
	struct ivshmem_error error;
	int in, out;
	bool pending;
	int r = endpoint_connect(&forward->endpoint, &in, &out, &pending, &error);

	if (r == -EAGAIN) {
		serving_try_later(&forward->serving);
		return r;
	}
	if (serving_is_shortage(r)) {
		wait_for_room(forward, r);
		return -EAGAIN;
	}
	if (r < 0) {
		fail("%s", error.message);
		ivshmem_channel_abort(forwarding_take_waiting(forward));
	} else {
		forwarding_add_link(forward, forwarding_take_waiting(forward), in, out, pending);
	}
	return 0;
}

static void
take_channels(struct forward *forward)
{
	while (serving_may_go_on(&forward->serving)) {
		int r = 0;

		if (!forward->waiting)
			r = ivshmem_accept(&forward->waiting, forward->listener);
		if (r == 0 && connect_endpoint(forward) < 0)
			return;
		if (r == 0 && forward->once) {
			forward->listener = ivshmem_channel_close(forward->listener);
			forward->serving.may_accept = false;
		}
		if (r == -EAGAIN)
			forward->serving.may_accept = false;
		else if (serving_is_shortage(r))
			wait_for_room(forward, r);
		else if (r < 0)
			serving_stop(&forward->serving, r);
	}
}

void
forwarding_take_who_comes(struct forward *forward)
{
	serving_look_at_clock(&forward->serving);
	if (forward->socket >= 0)
		take_connections(forward);
	if (forward->listener)
		take_channels(forward);
}
