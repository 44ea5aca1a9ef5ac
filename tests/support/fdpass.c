/* SPDX-License-Identifier: BSD-2-Clause */
#include <fdpass.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t
fdpass_send(int socket, const void *bytes, size_t length, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
	} control = {0};
	/* The C library's iovec is not const; sending does not write to it. */
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > FDPASS_MAX) {
		errno = EINVAL;
		return -1;
	}
	if (n_fds > 0) {
		struct cmsghdr *header;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(header), fds, n_fds * sizeof(int));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL);
}

ssize_t
fdpass_recv(int socket, void *bytes, size_t length, int *fds, size_t max_fds, size_t *ret_n_fds,
	int *ret_flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t count = 0;
	ssize_t got;

	if (max_fds > FDPASS_MAX) {
		errno = EINVAL;
		return -1;
	}
	if (max_fds > 0) {
		message.msg_control = control.bytes;
		/* CMSG_LEN and not _SPACE: the padding would hold one more. */
		message.msg_controllen = CMSG_LEN(max_fds * sizeof(int));
	}
	got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	if (got < 0)
		return got;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
		header = CMSG_NXTHDR(&message, header)) {
		count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(header), count * sizeof(int));
	}
	*ret_n_fds = count;
	if (ret_flags) {
		*ret_flags = message.msg_flags;
	} else if (message.msg_flags & MSG_CTRUNC) {
		while (count > 0)
			close(fds[--count]);
		errno = EMFILE;
		return -1;
	}
	return got;
}
