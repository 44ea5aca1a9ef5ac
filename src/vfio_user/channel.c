/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/channel.h>

#include <base/clock.h>
#include <base/fd.h>
#include <vfio_user/kept.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define READ_SIZE CHANNEL_READ_SIZE

int
channel_init(struct channel *channel, int socket, uint64_t spin_ns, struct kept *kept)
{
	*channel = (struct channel){.socket = socket, .spin_ns = spin_ns, .kept = kept};
	channel->capacity = CHANNEL_CAPACITY;
	channel->buffer = kept ? kept->inbox[0] : malloc(channel->capacity);
	return channel->buffer ? 0 : -ENOMEM;
}

void
channel_close_fds(struct channel *channel)
{
	for (unsigned i = 0; i < channel->n_request_fds; i++)
		fd_close(channel->request_fds[i]);
	channel->n_request_fds = 0;
}

void
channel_done(struct channel *channel)
{
	channel_close_fds(channel);
	for (unsigned i = 0; i < channel->n_fds; i++)
		fd_close(channel->fds[i].fd);
	channel->n_fds = 0;
	if (!channel->kept)
		free(channel->buffer);
	channel->buffer = NULL;
}

/* ---- receiving -------------------------------------------------------------------------------- */

/* Take the descriptors that came with the byte at `at`. Returns whether there was room for all. */
static bool
take_fds(struct channel *channel, struct msghdr *message, size_t at)
{
	bool fit = !(message->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (channel->n_fds == CHANNEL_MAX_FDS) {
				fd_close(fd);
				fit = false;
				continue;
			}
			channel->fds[channel->n_fds].fd = fd;
			channel->fds[channel->n_fds++].at = at;
		}
	}
	return fit;
}

/* One read of at most `length` bytes. How many came, 0 at the end, or a negative errno. */
static ssize_t
read_some(struct channel *channel, size_t length, int flags)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * VFIO_USER_MAX_REPLY_FDS)];
		struct cmsghdr alignment;
	} control __attribute__((uninitialized)); /* this runs on every access */
	struct iovec iov = {channel->buffer + channel->have, length};
	struct msghdr own = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct msghdr *message = &own;
	ssize_t n;

	if (channel->kept) {
		n = kept_receive(channel, length, flags, &message);
	} else {
		n = recvmsg(channel->socket, message, flags | MSG_CMSG_CLOEXEC);
		if (n < 0)
			n = -errno;
	}
	if (n <= 0)
		return n;
	channel->have += (size_t)n;
	if (take_fds(channel, message, channel->have - 1))
		return n;
	/* What is kept has no room for more than are allowed. */
	if (channel->kept && channel->n_fds == CHANNEL_MAX_FDS)
		return -EPROTO;
	return message->msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
}

/* The same, but look for a while before sleeping. */
static ssize_t
wait_and_read(struct channel *channel, size_t length)
{
	ssize_t n;

	if (channel->spin_ns > 0) {
		uint64_t end = clock_now() + channel->spin_ns;

		do
			n = read_some(channel, length, MSG_DONTWAIT);
		while ((n == -EAGAIN || n == -EINTR) && clock_now() < end);
		if (n != -EAGAIN && n != -EINTR)
			return n;
	}
	do
		n = read_some(channel, length, 0);
	while (n == -EINTR);
	return n;
}

/* Forget the message that was handed out, and move what follows to the front. */
static void
consume(struct channel *channel)
{
	const uint8_t *rest = channel->buffer + channel->consumed;

	channel_close_fds(channel);
	channel->have -= channel->consumed;
	/* What is kept must stay where it is. */
	if (channel->kept && channel->consumed > 0 && channel->have > 0) {
		channel->half = !channel->half;
		channel->buffer = channel->kept->inbox[channel->half];
	}
	memmove(channel->buffer, rest, channel->have);
	for (unsigned i = 0; i < channel->n_fds; i++)
		channel->fds[i].at -= channel->consumed;
	channel->consumed = 0;
}

static void
hand_out(
	struct channel *channel, const struct vfio_user_header *header, struct request *ret_request)
{
	unsigned left = 0;

	for (unsigned i = 0; i < channel->n_fds; i++) {
		if (channel->fds[i].at < header->size)
			channel->request_fds[channel->n_request_fds++] = channel->fds[i].fd;
		else
			channel->fds[left++] = channel->fds[i];
	}
	channel->n_fds = left;
	channel->consumed = header->size;
	*ret_request = (struct request){
		.header = *header,
		.body = channel->buffer + sizeof(*header),
		.length = header->size - sizeof(*header),
		.fds = channel->request_fds,
		.n_fds = channel->n_request_fds,
	};
}

int
channel_receive(struct channel *channel, struct request *ret_request)
{
	struct vfio_user_header header;

	consume(channel);
	*ret_request = (struct request){0};
	for (;;) {
		size_t need = sizeof(header);
		ssize_t n;

		if (channel->have >= sizeof(header)) {
			memcpy(&header, channel->buffer, sizeof(header));
			if (header.size < sizeof(header) ||
				header.size > sizeof(header) + MESSAGE_MAX_BODY) {
				ret_request->header = header;
				return -EMSGSIZE;
			}
			if (channel->have >= header.size) {
				hand_out(channel, &header, ret_request);
				return 1;
			}
			need = header.size;
		}
		need -= channel->have;
		n = wait_and_read(channel, need > READ_SIZE ? need : READ_SIZE);
		if (n <= 0)
			return (int)n;
	}
}

/* ---- sending ---------------------------------------------------------------------------------- */

static void
attach_fds(struct msghdr *message, void *control, const struct reply *reply)
{
	size_t size = reply->n_fds * sizeof(int);
	struct cmsghdr *c;

	message->msg_control = control;
	message->msg_controllen = CMSG_SPACE(size);
	c = CMSG_FIRSTHDR(message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), reply->fds, size);
}

static int
send_all(int socket, struct msghdr *message)
{
	struct iovec *iov = message->msg_iov;

	while (iov->iov_len > 0) {
		/* Without descriptors, the plain call is enough, and quicker. */
		ssize_t n = message->msg_control
				    ? sendmsg(socket, message, MSG_NOSIGNAL)
				    : send(socket, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* Only a message that is too large for the socket's buffer goes in pieces. */
		iov->iov_base = (uint8_t *)iov->iov_base + n;
		iov->iov_len -= (size_t)n;
		message->msg_control = NULL;
		message->msg_controllen = 0;
	}
	return 0;
}

int
channel_send(struct channel *channel, const struct vfio_user_header *header, struct reply *reply)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * VFIO_USER_MAX_REPLY_FDS)];
		struct cmsghdr alignment;
	} control __attribute__((uninitialized));
	struct iovec iov = {reply->message, sizeof(*header) + reply->length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	int r;

	if (channel->kept)
		return kept_send(channel);
	memcpy(reply->message, header, sizeof(*header));
	if (reply->n_fds > 0)
		attach_fds(&message, control.bytes, reply);
	r = send_all(channel->socket, &message);
	while (reply->n_fds > 0)
		fd_close(reply->fds[--reply->n_fds]);
	return r;
}

void
channel_shut(int socket)
{
	char rest[READ_SIZE];
	ssize_t n;

	shutdown(socket, SHUT_RDWR);
	do
		n = recv(socket, rest, sizeof(rest), MSG_DONTWAIT);
	while (n > 0 || (n < 0 && errno == EINTR));
}
