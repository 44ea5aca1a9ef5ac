/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_ENDPOINT_H
#define IVSHMEM_ENDPOINT_H

/* What is outside of the channels that are forwarded: sockets, programs, stdin and stdout. */

#include <ivshmem/common.h>

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

enum endpoint_kind {
	ENDPOINT_UNIX,
	ENDPOINT_TCP,
	ENDPOINT_VSOCK, /* a UNIX socket where each connection says first which port it wants */
	ENDPOINT_STDIO,
	ENDPOINT_EXEC,
};

struct endpoint {
	enum endpoint_kind kind;
	const char *text; /* as the user wrote it */
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
	} address;
	socklen_t length;
	char *const *command; /* of a program: its name and arguments, with a NULL at the end */
};

/*
 * Read "unix:PATH", "tcp:ADDRESS:PORT", "vsock:PATH", "stdio", or "exec" with the words that follow
 * it. -EINVAL, with a sentence. The strings are borrowed.
 */
int endpoint_parse(struct endpoint *ret_endpoint, char *const *words, struct ivshmem_error *reterr);

/*
 * A socket that listens there, and does not block. The socket file of a program that has ended is
 * replaced. Fails with a sentence.
 */
int endpoint_listen(const struct endpoint *endpoint, int *ret_fd, struct ivshmem_error *reterr);

/*
 * Connect to it: descriptors to read from and to write to, which may be the same one and belong to
 * the caller. `*ret_pending`: the connection is not there yet; when the descriptor is writable,
 * SO_ERROR tells. A program is started. Nobody connects to ENDPOINT_VSOCK. -EAGAIN: try again a
 * little later. Other errors come with a sentence.
 */
int endpoint_connect(const struct endpoint *endpoint, int *ret_in, int *ret_out, bool *ret_pending,
	struct ivshmem_error *reterr);

/*
 * Whether a connection is reset instead of ended when its socket is closed, also by our death. Only
 * TCP can do that.
 */
void endpoint_reset_on_close(int fd, bool on);

/* Nobody is to find it any more. */
void endpoint_remove(const struct endpoint *endpoint);

#endif
