/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/door.h>

#include <base/clock.h>
#include <base/fd.h>
#include <base/list.h>
#include <base/pace.h>
#include <vfio_user/channel.h>
#include <vfio_user/message.h>
#include <vfio_user/refusal.h>

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* After a connection could not be accepted, most likely for lack of descriptors. */
#define ACCEPT_PAUSE (500 * NSEC_PER_MSEC)

/* A larger first message never fits into the socket as a whole. No VERSION is as large. */
#define FIRST_MESSAGE_MAX (UINT32_C(100) << 10)

/* ---- sending away ------------------------------------------------------------------------------ */

static void
end(struct visitor *visitor)
{
	loop_timer_cancel(&visitor->timer);
	if (visitor->source.fd >= 0) {
		loop_del(&visitor->source);
		channel_shut(visitor->source.fd);
		visitor->source.fd = fd_close(visitor->source.fd);
	}
}

/* Answer the first message, if there is one, with this errno. */
static void
refuse(struct visitor *visitor, uint32_t error)
{
	struct vfio_user_header header;
	int fd = visitor->source.fd;
	ssize_t n = recv(fd, &header, sizeof(header), MSG_DONTWAIT);

	if (n == (ssize_t)sizeof(header) && !(header.flags & VFIO_USER_NO_REPLY)) {
		refusal_reply(&header, error, &header);
		/* A visitor that does not take these few bytes does not want them. */
		send(fd, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	end(visitor);
}

static void
refuse_busy(struct visitor *visitor)
{
	pace_printf(visitor->door->complaints,
		"process %d is refused: another VMM has the device; start one ivshmem-device for each VM",
		(int)visitor->who.pid);
	refuse(visitor, EBUSY);
}

static void
time_out(struct loop_timer *timer)
{
	struct visitor *visitor = container_of(timer, struct visitor, timer);
	struct door *door = visitor->door;

	if (!visitor->has_spoken) {
		pace_printf(door->complaints,
			"process %d is sent away: it connected, but sent no whole message",
			(int)visitor->who.pid);
		end(visitor);
	} else if (door->state(door->data) == DOOR_CLOSED) {
		refuse_busy(visitor);
	} else {
		loop_timer_set(door->loop, timer, clock_now() + door->grace_ns, time_out);
	}
}

/* ---- visitors ---------------------------------------------------------------------------------- */

void
door_look(struct door *door)
{
	struct visitor *first = NULL;
	int fd;

	for (unsigned i = 0; i < DOOR_VISITORS; i++) {
		struct visitor *visitor = &door->visitors[i];

		if (visitor->source.fd >= 0 && visitor->has_spoken &&
			(!first || visitor->since < first->since))
			first = visitor;
	}
	if (!first || door->state(door->data) != DOOR_OPEN)
		return;
	loop_timer_cancel(&first->timer);
	loop_del(&first->source);
	fd = fd_take(&first->source.fd);
	door->enter(&fd, &first->who, door->data);
}

enum speech { SPEECH_NONE, SPEECH_COMPLETE, SPEECH_TOO_LONG, SPEECH_OVER };

static enum speech
listen_to(int fd)
{
	struct vfio_user_header header;
	ssize_t n = recv(fd, &header, sizeof(header), MSG_PEEK | MSG_DONTWAIT);
	int waiting = 0;

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return SPEECH_OVER;
	if (n < (ssize_t)sizeof(header))
		return SPEECH_NONE;
	/* The access thread refuses what cannot be a message. */
	if (header.size < sizeof(header) || header.size > sizeof(header) + MESSAGE_MAX_BODY)
		return SPEECH_COMPLETE;
	if (header.size > FIRST_MESSAGE_MAX)
		return SPEECH_TOO_LONG;
	ioctl(fd, FIONREAD, &waiting);
	return (uint32_t)waiting >= header.size ? SPEECH_COMPLETE : SPEECH_NONE;
}

/* Returns whether the visitor has spoken, now or before. Sends it away if it never can. */
static bool
heed(struct visitor *visitor)
{
	struct door *door = visitor->door;

	if (visitor->has_spoken)
		return true;
	switch (listen_to(visitor->source.fd)) {
	case SPEECH_COMPLETE:
		visitor->has_spoken = true;
		visitor->since = ++door->clock;
		loop_timer_set(door->loop, &visitor->timer, clock_now() + door->grace_ns, time_out);
		break;
	case SPEECH_TOO_LONG:
		pace_printf(door->complaints,
			"process %d is refused: its first message is too long to be that of a VMM",
			(int)visitor->who.pid);
		refuse(visitor, EINVAL);
		break;
	case SPEECH_OVER:
		end(visitor);
		break;
	case SPEECH_NONE:
		break;
	}
	return visitor->has_spoken;
}

/* Edge-triggered, because the door does not read what waits: it would be reported for ever. */
static void
stirred(struct loop_source *source, uint32_t events)
{
	struct visitor *visitor = container_of(source, struct visitor, source);
	bool has_spoken = heed(visitor);

	if (has_spoken)
		door_look(visitor->door);
	/* The visitor may have been let in just now. If not, it may have gone. */
	if (source->fd < 0 || !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		return;
	if (has_spoken)
		refuse(visitor, EBUSY);
	else
		end(visitor);
}

/* The place for a newcomer. It may have to be taken from another visitor. */
static struct visitor *
find_place(struct door *door)
{
	struct visitor *oldest = NULL;

	for (unsigned i = 0; i < DOOR_VISITORS; i++) {
		struct visitor *visitor = &door->visitors[i];

		/* It may have spoken since the last look. */
		if (visitor->source.fd >= 0)
			heed(visitor);
		if (visitor->source.fd < 0)
			return visitor;
		if (!oldest || visitor->has_spoken < oldest->has_spoken ||
			(visitor->has_spoken == oldest->has_spoken &&
				visitor->since < oldest->since))
			oldest = visitor;
	}
	if (oldest->has_spoken)
		refuse_busy(oldest);
	else
		end(oldest);
	return oldest;
}

void
door_add(struct door *door, int *socket)
{
	struct visitor *visitor = find_place(door);

	visitor->who = process_behind(*socket);
	visitor->has_spoken = false;
	visitor->since = ++door->clock;
	if (loop_add(door->loop, &visitor->source, *socket, EPOLLIN | EPOLLRDHUP | EPOLLET,
		    stirred) < 0) {
		/* There is no memory to watch it. It gets no answer. */
		visitor->source.fd = -1;
		channel_shut(*socket);
		*socket = fd_close(*socket);
		return;
	}
	fd_take(socket);
	loop_timer_set(door->loop, &visitor->timer, clock_now() + DOOR_PATIENCE, time_out);
}

/* ---- the listening socket ---------------------------------------------------------------------- */

static void
end_pause(struct loop_timer *timer)
{
	loop_set_events(&container_of(timer, struct door, pause)->listener, EPOLLIN);
}

static void
connected(struct loop_source *source, uint32_t events)
{
	struct door *door = container_of(source, struct door, listener);
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		door_add(door, &fd);
		return;
	}
	if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
		return;
	pace_printf(door->complaints, "a VMM cannot be let in: %s", strerror(errno));
	/* The connection goes on waiting, and the loop would report it for ever. */
	loop_set_events(source, 0);
	loop_timer_set(door->loop, &door->pause, clock_now() + ACCEPT_PAUSE, end_pause);
}

int
door_listen(struct door *door, int socket)
{
	return loop_add(door->loop, &door->listener, socket, EPOLLIN, connected);
}

/*
 * VMMs that wait to be accepted are sent away like the others, because to close the listening
 * socket would reset their connections. Those that come now find nobody listening.
 */
static void
stop_listening(struct door *door)
{
	int fd;

	loop_timer_cancel(&door->pause);
	if (!door->listener.loop)
		return;
	loop_del(&door->listener);
	/* It is a supervisor's: VMMs that wait there, or come now, are for the next device. */
	if (door->listener_lasts)
		return;
	shutdown(door->listener.fd, SHUT_RDWR);
	while ((fd = accept4(door->listener.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		channel_shut(fd);
		fd_close(fd);
	}
}

/* ---- life -------------------------------------------------------------------------------------- */

void
door_init(struct door *door)
{
	for (unsigned i = 0; i < DOOR_VISITORS; i++) {
		door->visitors[i].door = door;
		door->visitors[i].source.fd = -1;
	}
}

void
door_done(struct door *door)
{
	stop_listening(door);
	for (unsigned i = 0; i < DOOR_VISITORS; i++)
		end(&door->visitors[i]);
}
