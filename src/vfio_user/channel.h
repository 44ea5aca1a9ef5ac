/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_CHANNEL_H
#define VFIO_USER_CHANNEL_H

/*
 * Messages on the socket of one VMM: blocking, for a thread that does nothing else. Measured, that
 * is 15 % faster for a request and its reply than an event loop.
 *
 * A stream socket does not keep messages apart, so what is read may hold several, and the last one
 * only in part. A read ends with the piece that brought descriptors; so descriptors belong to the
 * message that the last byte of the read is in.
 */

#include <vfio_user/message.h>

#include <stddef.h>
#include <stdint.h>

/* More with one message than this are not looked at, and end the connection. */
#define CHANNEL_MAX_FDS 32

struct channel {
	int socket;       /* borrowed */
	uint64_t spin_ns; /* look for the next request that long before sleeping */

	uint8_t *buffer;
	size_t capacity, have; /* bytes; the message being assembled begins at 0 */
	size_t consumed;       /* of the message handed out last */
	struct {
		int fd;
		size_t at; /* the byte it came with, an offset in the buffer */
	} fds[CHANNEL_MAX_FDS];
	unsigned n_fds;
	int request_fds[CHANNEL_MAX_FDS]; /* of the message handed out last */
	unsigned n_request_fds;
};

/* -ENOMEM. */
int channel_init(struct channel *channel, int socket, uint64_t spin_ns);
void channel_done(struct channel *channel);

/*
 * Wait for the next request, which is valid until the next call; descriptors that nobody took are
 * closed then. Returns 1, or 0 when the other side is done, or
 *	-EMSGSIZE	the size in the header, which is in the request, cannot be
 *	-EPROTO		more descriptors than a message may have
 *	-EMFILE		we have no room for its descriptors
 * or another negative errno from recvmsg().
 */
int channel_receive(struct channel *channel, struct request *ret_request);

/* Send header, body and descriptors, which are closed, in one go. 0 or a negative errno. */
int channel_send(
	struct channel *channel, const struct vfio_user_header *header, struct reply *reply);

/*
 * End the connection. What was not read is read, or the other side would be told that the
 * connection was reset, of which QEMU dies.
 */
void channel_shut(int socket);

#endif
