/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_KEPT_H
#define VFIO_USER_KEPT_H

/*
 * The connection to a VMM in shared memory, so that another process can go on with it: one that shares
 * our memory and our descriptors, and takes our place when we were killed.
 *
 * Theory of operation
 *
 * There are two copies of all that the connection is, besides its bytes. One of them is in force. After
 * a request was handled, the other copy gets the state after it, with the reply that is to be sent, and
 * comes into force by one store, together with what the request has changed (journal.h). So a request
 * has been handled, or it has not, and then the next process handles it from the start.
 *
 * The kernel notes in the headers of recvmmsg() and sendmmsg() how many bytes came and went, within
 * the system call. A process cannot be killed in between (tests/platform). So the next process knows
 * what came, and with which descriptors, and which part of the reply went out:
 *
 *	receiving	the message length in the header is 0 before the call. `taken` says that what the
 *			header tells is in `have` already, or that there was no call.
 *	sending		two headers in turn. `progress` says which one is next, and how many bytes went
 *			out before it: one store.
 *
 * The bytes that are in force are never moved: the rest of a read goes to the other half of the inbox.
 */

#include <vfio_user/connection.h>
#include <vfio_user/message.h>

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct kept_state {
	/* what came */
	bool taken;
	unsigned half; /* of the inbox */
	size_t have, consumed;
	struct channel_fd fds[CHANNEL_MAX_FDS];
	unsigned n_fds;

	/* the reply */
	bool sent; /* or there is none */
	bool end;  /* nothing follows */
	uint64_t progress;
	size_t length; /* with its header */
	int reply_fds[VFIO_USER_MAX_REPLY_FDS];
	unsigned n_reply_fds;
};

struct kept_header {
	struct mmsghdr message;
	struct iovec iov;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * VFIO_USER_MAX_REPLY_FDS)];
};

struct kept {
	/* Which copies are in force: bit 0 of the connection, bit 1 of the rest (journal.h). */
	unsigned current;
	struct kept_state states[2];
	struct kept_header in, out[2];
	uint8_t inbox[2][CHANNEL_CAPACITY];
	uint8_t outbox[sizeof(struct vfio_user_header) + MESSAGE_MAX_BODY];
};

#define KEPT_STATE_BIT   1u
#define KEPT_SESSION_BIT 2u

/* There is no connection yet. */
void kept_init(struct kept *kept);

/* The copy that is in force. */
struct kept_state *kept_state(struct kept *kept);

/* Write the state of `channel` to the copy that is not in force. The reply is sent already, or there is
 * none, if `reply` is NULL. */
void kept_write(
	struct kept *kept, const struct channel *channel, const struct reply *reply, bool end);
/* Change which copies are in force. */
void kept_flip(struct kept *kept, unsigned bits);

/* Make `channel` what it was. What was received and not handled yet is received again. */
void kept_read(struct kept *kept, struct channel *channel);

/* Whether a request was received and is not handled yet. */
bool kept_is_busy(struct kept *kept);

/* recvmsg() into the buffer of `channel`: how many bytes came, 0 at the end, or a negative errno. */
ssize_t kept_receive(
	struct channel *channel, size_t length, int flags, struct msghdr **ret_message);

/* Send what is left of the reply that is in force, and close its descriptors. */
int kept_send(struct channel *channel);

/* Call `note` for each descriptor that belongs to the connection. */
void kept_list(struct kept *kept, void (*note)(int fd, void *data), void *data);

#endif
