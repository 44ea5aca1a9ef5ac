/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_CONNECTION_H
#define VFIO_USER_CONNECTION_H

/* The connection of one VMM: for channel.c, which uses it, and kept.c, which keeps it for the next process. */

#include <vfio_user/message.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kept;

/* A message with more descriptors ends the connection. */
#define CHANNEL_MAX_FDS 32

/* The least that a read asks for. It is so small that moving the rest to the front is cheap. */
#define CHANNEL_READ_SIZE 4096

#define CHANNEL_CAPACITY (sizeof(struct vfio_user_header) + MESSAGE_MAX_BODY + CHANNEL_READ_SIZE)

struct channel_fd {
	int fd;
	size_t at; /* the byte it came with, an offset in the buffer */
};

struct channel {
	int socket;       /* borrowed */
	uint64_t spin_ns; /* how long to look for the next request before sleeping */

	uint8_t *buffer;
	size_t capacity, have; /* bytes; the message being assembled begins at 0 */
	size_t consumed;       /* of the message handed out last */
	struct channel_fd fds[CHANNEL_MAX_FDS];
	unsigned n_fds;
	int request_fds[CHANNEL_MAX_FDS]; /* of the message handed out last */
	unsigned n_request_fds;

	struct kept *kept; /* where all of that is kept; NULL: nowhere */
	unsigned half;     /* of the inbox */
	bool left_over;    /* what was received before this process is to be received again */
	bool is_ahead;     /* of what is kept, by one read */
};

#endif
