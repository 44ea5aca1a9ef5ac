/* SPDX-License-Identifier: BSD-2-Clause */
#include <wire/wire.h>

#include <base/fd.h>

#include <ivshmem/abi.h>

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

void
wire_receiver_init(struct wire_receiver *receiver)
{
	*receiver = (struct wire_receiver){.fd = -1};
}

void
wire_receiver_done(struct wire_receiver *receiver)
{
	receiver->fd = fd_close(receiver->fd);
	receiver->have = 0;
}

size_t
wire_receiver_wants(const struct wire_receiver *receiver)
{
	return sizeof(receiver->bytes) - receiver->have;
}

int
wire_receiver_feed(struct wire_receiver *receiver, const void *bytes, size_t length, const int *fds,
	size_t n_fds, struct wire_message *ret_message)
{
	uint64_t number;

	for (size_t i = 0; i < n_fds; i++) {
		if (receiver->fd < 0)
			receiver->fd = fds[i];
		else
			fd_close(fds[i]);
	}
	memcpy(receiver->bytes + receiver->have, bytes, length);
	receiver->have += (unsigned)length;
	if (receiver->have < sizeof(receiver->bytes))
		return 0;
	memcpy(&number, receiver->bytes, sizeof(number));
	*ret_message = (struct wire_message){
		.number = (int64_t)le64toh(number),
		.fd = fd_take(&receiver->fd),
	};
	receiver->have = 0;
	return 1;
}

size_t
wire_received_fds(struct msghdr *header, int fds[WIRE_RECEIVE_FDS])
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	return n;
}

int
wire_receive(struct wire_receiver *receiver, int socket, struct wire_message *ret_message)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(WIRE_RECEIVE_FDS * sizeof(int))];
		} control;
		uint8_t bytes[IVSHMEM_WIRE_MESSAGE_SIZE];
		struct iovec iov = {bytes, wire_receiver_wants(receiver)};
		struct msghdr header = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		int fds[WIRE_RECEIVE_FDS];
		size_t n_fds;
		ssize_t length = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (length < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		n_fds = wire_received_fds(&header, fds);
		if (header.msg_flags & MSG_CTRUNC) {
			/* The kernel installed those that fit, and they must be closed (W4 in
			 * tests/platform). */
			for (size_t i = 0; i < n_fds; i++)
				fd_close(fds[i]);
			return n_fds < WIRE_RECEIVE_FDS ? -EMFILE : -EPROTO;
		}
		if (length == 0)
			return -ECONNRESET;
		if (wire_receiver_feed(receiver, bytes, (size_t)length, fds, n_fds, ret_message))
			return 1;
	}
}

/* One message with a descriptor, or a run of messages without: what one sendmsg() may carry. */
struct parcel {
	struct iovec iov;
	unsigned n_messages;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
};

static unsigned
make_parcels(const struct wire_message *messages, unsigned n, uint64_t *numbers,
	struct parcel *parcels, struct mmsghdr *headers)
{
	unsigned n_parcels = 0;

	for (unsigned i = 0; i < n; i++) {
		struct parcel *parcel;
		struct msghdr *header;
		struct cmsghdr *c;

		numbers[i] = htole64((uint64_t)messages[i].number);
		if (messages[i].fd < 0 && i > 0 && messages[i - 1].fd < 0) {
			parcel = &parcels[n_parcels - 1];
			parcel->iov.iov_len += sizeof(numbers[i]);
			parcel->n_messages++;
			continue;
		}
		parcel = &parcels[n_parcels];
		header = &headers[n_parcels].msg_hdr;
		n_parcels++;
		parcel->iov = (struct iovec){&numbers[i], sizeof(numbers[i])};
		parcel->n_messages = 1;
		*header = (struct msghdr){.msg_iov = &parcel->iov, .msg_iovlen = 1};
		if (messages[i].fd < 0)
			continue;
		header->msg_control = &parcel->control;
		header->msg_controllen = CMSG_LEN(sizeof(int));
		c = &parcel->control.align;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(c), &messages[i].fd, sizeof(int));
	}
	return n_parcels;
}

int
wire_send(int socket, const struct wire_message *messages, unsigned n)
{
	return wire_send_noted(socket, messages, n, NULL);
}

int
wire_send_noted(int socket, const struct wire_message *messages, unsigned n, struct mmsghdr *noted)
{
	uint64_t numbers[WIRE_SEND_MAX];
	struct parcel parcels[WIRE_SEND_MAX];
	struct mmsghdr own[WIRE_SEND_MAX], *headers = noted ? noted : own;
	unsigned n_parcels, sent_messages = 0;
	int sent;

	if (n > WIRE_SEND_MAX)
		n = WIRE_SEND_MAX;
	n_parcels = make_parcels(messages, n, numbers, parcels, headers);
	do
		sent = sendmmsg(socket, headers, n_parcels, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	for (int i = 0; i < sent; i++) {
		/* A few hundred bytes go out whole or not at all (tests/platform). Check it all the
		 * same. */
		if (headers[i].msg_len != parcels[i].iov.iov_len)
			return -EIO;
		sent_messages += parcels[i].n_messages;
	}
	return (int)sent_messages;
}
