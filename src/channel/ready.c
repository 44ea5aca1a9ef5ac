/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Descriptors for those who poll: one for a channel, or one for a participant and all its channels.
 *
 * Both are epoll descriptors with what rings us, the timer for the next look, and an eventfd. A
 * channel's eventfd is readable from the moment that a call is worth another try, until a call
 * returns -EAGAIN. A participant's is readable while it has channels like this, which the user
 * takes from a list.
 */
#include <channel/channel.h>

#include <base/fd.h>

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* ---- making them ----------------------------------------------------------------------------- */

static int
watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int
make(const struct ivshmem_participant *participant, unsigned readable, int *ret_fd, int *ret_ready)
{
	_fd_cleanup_ int ready = -1;
	_fd_cleanup_ int fd = -1;
	int r;

	ready = eventfd(readable, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ready < 0)
		return -errno;
	fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = watch(fd, ready);
	if (r == 0)
		r = watch(fd, participant->timer);
	if (r == 0 && participant->transport.fd >= 0)
		r = watch(fd, participant->transport.fd);
	if (r < 0)
		return r;
	*ret_ready = fd_take(&ready);
	*ret_fd = fd_take(&fd);
	return 0;
}

EXPORT int
ivshmem_channel_fd(struct ivshmem_channel *channel)
{
	int r = 0;

	if (channel->fd < 0) {
		/* The first try will tell. */
		r = make(channel->participant, 1, &channel->fd, &channel->ready);
		channel->is_ready = true;
	}
	return r < 0 ? r : channel->fd;
}

EXPORT int
ivshmem_participant_fd(struct ivshmem_participant *participant)
{
	int r;

	if (participant->fd >= 0)
		return participant->fd;
	r = make(participant, 0, &participant->fd, &participant->ready);
	if (r < 0)
		return r;
	list_for_each (link, &participant->channels)
		channel_signal(container_of(link, struct ivshmem_channel, link));
	return participant->fd;
}

/* ---- which channels -------------------------------------------------------------------------- */

static void
list_ready(struct ivshmem_channel *channel)
{
	struct ivshmem_participant *participant = channel->participant;

	if (participant->fd < 0 || channel->orphan || !list_empty(&channel->ready_link))
		return;
	if (list_empty(&participant->ready_channels))
		eventfd_write(participant->ready, 1);
	list_append(&participant->ready_channels, &channel->ready_link);
}

static void
unlist_ready(struct ivshmem_channel *channel)
{
	struct ivshmem_participant *participant = channel->participant;
	eventfd_t count;

	if (list_empty(&channel->ready_link))
		return;
	list_remove(&channel->ready_link);
	if (list_empty(&participant->ready_channels))
		eventfd_read(participant->ready, &count);
}

void
channel_signal(struct ivshmem_channel *channel)
{
	list_ready(channel);
	if (channel->fd < 0 || channel->is_ready)
		return;
	channel->is_ready = true;
	eventfd_write(channel->ready, 1);
}

void
channel_poll_again(struct ivshmem_channel *channel)
{
	eventfd_t count;

	unlist_ready(channel);
	/* Who polls the participant calls ivshmem_participant_ready() before it sleeps. */
	if (channel->fd < 0)
		return;
	if (channel->is_ready)
		eventfd_read(channel->ready, &count);
	channel->is_ready = false;
	participant_poll_again(channel->participant);
}

void
channel_ready_done(struct ivshmem_channel *channel)
{
	unlist_ready(channel);
	channel->fd = fd_close(channel->fd);
	channel->ready = fd_close(channel->ready);
}

EXPORT struct ivshmem_channel *
ivshmem_participant_ready(struct ivshmem_participant *participant)
{
	struct ivshmem_channel *channel;

	if (participant->fd < 0)
		return NULL;
	if (list_empty(&participant->ready_channels)) {
		/* Whoever gives notices all the time must not keep the user here: what the second
		 * look finds makes the descriptor readable. */
		bool enough = participant->looked;

		participant_poll_again(participant);
		participant_look(participant);
		participant->looked = !enough && !list_empty(&participant->ready_channels);
		if (!participant->looked)
			return NULL;
	}
	channel =
		container_of(participant->ready_channels.next, struct ivshmem_channel, ready_link);
	unlist_ready(channel);
	return channel;
}

/* ---- what the user finds there --------------------------------------------------------------- */

EXPORT void
ivshmem_channel_set_data(struct ivshmem_channel *channel, void *data)
{
	channel->data = data;
}

EXPORT void *
ivshmem_channel_data(const struct ivshmem_channel *channel)
{
	return channel->data;
}
