/* SPDX-License-Identifier: BSD-2-Clause */
#include <socket/bag.h>

#include <base/error.h>
#include <base/fd.h>

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* As many as one message takes (SCM_MAX_FD). */
#define BATCH 253

/* What a message takes of the send buffer, at most: 768 bytes in Linux 6.1. */
#define MESSAGE_COST 1280

/* So much for the send buffer, if we may: a million descriptors need five megabytes. */
#define BUFFER_SIZE (16 << 20)

/* What each message says; little-endian. */
struct label {
	uint64_t total;  /* descriptors in the bag */
	uint64_t before; /* so many of them are in the messages before this one */
};

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(BATCH * sizeof(int))];
};

/* ---- making ---------------------------------------------------------------------------------- */

static int
make_pair(int ret_pair[2])
{
	const int size = BUFFER_SIZE;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_pair) < 0)
		return -errno;
	/* Beyond wmem_max only with CAP_NET_ADMIN. */
	if (setsockopt(ret_pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(ret_pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

static size_t
room_in(int socket)
{
	socklen_t length = sizeof(int);
	int size = 0;

	getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, &length);
	return (size_t)size / MESSAGE_COST * BATCH;
}

size_t
bag_room(void)
{
	size_t room;
	int pair[2];

	if (make_pair(pair) < 0)
		return 0;
	room = room_in(pair[0]);
	fd_close(pair[0]);
	fd_close(pair[1]);
	return room;
}

static int
send_batch(int socket, const int *fds, size_t n, struct label label)
{
	struct iovec iov = {&label, sizeof(label)};
	union control control = {0};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int
send_all(int socket, const int *fds, size_t n)
{
	size_t sent = 0;

	do {
		size_t batch = n - sent < BATCH ? n - sent : BATCH;
		struct label label = {htole64(n), htole64(sent)};
		int r = send_batch(socket, fds + sent, batch, label);

		if (r < 0)
			return r == -EAGAIN ? -ENOBUFS : r;
		sent += batch;
	} while (sent < n);
	return 0;
}

int
bag_new(int *ret_bag, const int *fds, size_t n)
{
	_fd_cleanup_ int from = -1, to = -1;
	int pair[2];
	int r = make_pair(pair);

	if (r < 0)
		return r;
	from = pair[0];
	to = pair[1];
	if (n > room_in(from))
		return -ENOBUFS;
	r = send_all(from, fds, n);
	if (r == 0)
		*ret_bag = fd_take(&to);
	return r;
}

/* ---- reading --------------------------------------------------------------------------------- */

struct reading {
	int *fds;
	size_t n;
	uint64_t total; /* as the last message says */
};

static int
take_fds(struct reading *reading, const struct msghdr *message)
{
	const struct cmsghdr *header = CMSG_FIRSTHDR(message);
	size_t n = 0;
	int *grown;

	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (n == 0)
		return 0;
	grown = reallocarray(reading->fds, reading->n + n, sizeof(int));
	if (!grown) {
		for (size_t i = 0; i < n; i++)
			fd_close(((const int *)(const void *)CMSG_DATA(header))[i]);
		return -ENOMEM;
	}
	memcpy(grown + reading->n, CMSG_DATA(header), n * sizeof(int));
	reading->fds = grown;
	reading->n += n;
	return 0;
}

/* The next message. -ENODATA at the end. */
static int
peek(int bag, struct reading *reading, struct ivshmem_error *reterr)
{
	struct label label;
	struct iovec iov = {&label, sizeof(label)};
	union control control;
	size_t before = reading->n;
	struct msghdr message = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(bag, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int r;

	if (n == 0 || (n < 0 && errno == EAGAIN))
		return -ENODATA;
	if (n < 0)
		return error_set(
			reterr, -errno, "cannot look at what was kept: %s", strerror(errno));
	r = take_fds(reading, &message);
	if (r < 0)
		return r;
	if (message.msg_flags & MSG_CTRUNC)
		return error_set(reterr, -EMFILE,
			"the limit of file descriptors is too low for those that were kept; raise it (ulimit -n)");
	if (n != (ssize_t)sizeof(label) || message.msg_flags & MSG_TRUNC ||
		le64toh(label.before) != before)
		return error_set(reterr, -EINVAL, "what was kept is nothing that a server keeps");
	reading->total = le64toh(label.total);
	return 0;
}

static int
read_all(int bag, struct reading *reading, struct ivshmem_error *reterr)
{
	const int start = 0;
	uint64_t total;
	int r;

	/* The offset belongs to the bag, and an earlier reader may have moved it. */
	if (setsockopt(bag, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start)) < 0)
		return error_set(reterr, -EINVAL,
			"what was kept is nothing that a server keeps: %s", strerror(errno));
	r = peek(bag, reading, reterr);
	if (r < 0)
		return r == -ENODATA ? error_set(reterr, r, "nothing is left in what was kept") : r;
	total = reading->total;
	while (reading->n < total) {
		r = peek(bag, reading, reterr);
		if (r == -ENODATA || (r == 0 && reading->total != total))
			return error_set(reterr, -EINVAL,
				"not all of what was kept is there: %zu of %llu descriptors",
				reading->n, (unsigned long long)total);
		if (r < 0)
			return r;
	}
	if (reading->n > total || peek(bag, reading, NULL) != -ENODATA)
		return error_set(
			reterr, -EINVAL, "more descriptors were kept than there should be");
	return 0;
}

int
bag_read(int bag, int **ret_fds, size_t *ret_n, struct ivshmem_error *reterr)
{
	struct reading reading = {0};
	int r = read_all(bag, &reading, reterr);

	if (r < 0) {
		for (size_t i = 0; i < reading.n; i++)
			fd_close(reading.fds[i]);
		free(reading.fds);
		return r;
	}
	*ret_fds = reading.fds;
	*ret_n = reading.n;
	return 0;
}

bool
bag_is_taken(int bag)
{
	const int start = 0;
	struct label label;
	ssize_t n;

	setsockopt(bag, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start));
	n = recv(bag, &label, sizeof(label), MSG_PEEK | MSG_DONTWAIT);
	return n <= 0 || (n == (ssize_t)sizeof(label) && label.before != 0);
}

void
bag_empty(int bag)
{
	struct label label;

	/* Without room for descriptors, the kernel drops them. */
	while (recv(bag, &label, sizeof(label), MSG_DONTWAIT) > 0)
		;
}
