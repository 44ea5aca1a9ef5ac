/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_MESSAGE_H
#define VFIO_USER_MESSAGE_H

/* A request and its reply in memory, for the code that handles them. */

#include <vfio_user/protocol.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest body in either direction: data, and the structure before the data. */
#define MESSAGE_MAX_BODY ((size_t)VFIO_USER_MAX_TRANSFER + 64)

struct request {
	struct vfio_user_header header;
	const uint8_t *body; /* of any alignment */
	size_t length;       /* of the body */
	int *fds; /* a handler that keeps one sets it to -1; the channel closes the others */
	unsigned n_fds;
};

struct reply {
	uint8_t *message;                 /* room for the header, then the body */
	uint8_t *body;                    /* MESSAGE_MAX_BODY bytes */
	size_t length;                    /* of the body */
	int fds[VFIO_USER_MAX_REPLY_FDS]; /* owned; channel_send() closes them */
	unsigned n_fds;
	bool borrows; /* the room is somebody else's */
};

/* Make room for replies, one after the other; or take `room` (borrowed), if it is not NULL. -ENOMEM. */
int reply_init(struct reply *reply, uint8_t *room);
void reply_done(struct reply *reply);

/* Append to the reply. */
void reply_add(struct reply *reply, const void *data, size_t length);
/* Empty the reply, and close its descriptors. */
void reply_drop(struct reply *reply);

#endif
