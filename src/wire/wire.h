/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

/*
 * The messages of the server protocol on a UNIX stream socket: one signed 64-bit little-endian
 * number each, with at most one descriptor (include/ivshmem/abi.h, docs/protocol.md). What they
 * mean is not known here.
 *
 * A stream socket does not keep messages apart, and a descriptor belongs to the first byte that was
 * sent with it. So a message with a descriptor is always sent alone, and the receiver never asks
 * for more than the rest of the current message. A larger read would give a descriptor to the wrong
 * number (W1 to W3 in tests/platform).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mmsghdr;

struct wire_message {
	int64_t number;
	int fd; /* -1 if none */
};

/* ---- receiving ------------------------------------------------------------------------------- */

/* The message being assembled. Owns the descriptor that came with it. */
struct wire_receiver {
	uint8_t bytes[8];
	unsigned have; /* bytes so far, 0 to 7 between calls */
	int fd;
};

void wire_receiver_init(struct wire_receiver *receiver);
/* Close the descriptor of a message that was never completed. */
void wire_receiver_done(struct wire_receiver *receiver);

/* How many bytes to read at most before the next wire_receiver_feed(). */
size_t wire_receiver_wants(const struct wire_receiver *receiver);

/*
 * Take the bytes and descriptors of one read: at most wire_receiver_wants() bytes, and all of
 * `fds`. Of the descriptors of one message it keeps the first and closes the others, as QEMU does.
 * Returns 1 and the message when it is complete (its descriptor then belongs to the caller), else
 * 0.
 */
int wire_receiver_feed(struct wire_receiver *receiver, const void *bytes, size_t length,
	const int *fds, size_t n_fds, struct wire_message *ret_message);

/*
 * Read from `socket`, without blocking, until one message is complete. Returns 1 and the message,
 * or:
 *	-EAGAIN		nothing more now
 *	-ECONNRESET	the other side closed the connection
 *	-EPROTO		more descriptors at once than any message has
 *	-EMFILE		descriptors came, but this process has no room for them, or may not have them
 *	other negative errno from recvmsg()
 */
int wire_receive(struct wire_receiver *receiver, int socket, struct wire_message *ret_message);

/* Room for more descriptors than a message may have, so that a surplus is noticed and not cut
 * off. */
#define WIRE_RECEIVE_FDS 4

struct msghdr;
/* Copies the descriptors out of a received header; returns how many there are. */
size_t wire_received_fds(struct msghdr *header, int fds[WIRE_RECEIVE_FDS]);

/* ---- sending --------------------------------------------------------------------------------- */

/* At most so many messages in one wire_send(). */
#define WIRE_SEND_MAX 64

/*
 * Send `n` (1 to WIRE_SEND_MAX) messages in order, without blocking and without SIGPIPE. Runs of
 * messages without descriptor travel together. Descriptors are borrowed. Returns how many messages
 * went out, which is less than n when the socket is full, or when nothing went out:
 *	-EAGAIN		the socket is full; EPOLLOUT will tell when to go on
 *	-ETOOMANYREFS	too many descriptors of this user are in flight; no event tells when to go on
 *	other negative errno from sendmsg(): -EPIPE, -ECONNRESET, -ENOBUFS, -ENOMEM
 */
int wire_send(int socket, const struct wire_message *messages, unsigned n);
/*
 * The same. The kernel adds up in `noted` (WIRE_SEND_MAX of them, all of msg_len 0; NULL: nowhere)
 * the bytes that were sent, for somebody who looks when this process was killed.
 */
int wire_send_noted(
	int socket, const struct wire_message *messages, unsigned n, struct mmsghdr *noted);

#endif
