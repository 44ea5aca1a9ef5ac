/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/message.h>

#include <base/fd.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
reply_init(struct reply *reply, uint8_t *room)
{
	*reply = (struct reply){.message = room, .borrows = room};
	if (!room)
		reply->message = malloc(sizeof(struct vfio_user_header) + MESSAGE_MAX_BODY);
	if (!reply->message)
		return -ENOMEM;
	reply->body = reply->message + sizeof(struct vfio_user_header);
	return 0;
}

void
reply_done(struct reply *reply)
{
	reply_drop(reply);
	if (!reply->borrows)
		free(reply->message);
	*reply = (struct reply){0};
}

void
reply_add(struct reply *reply, const void *data, size_t length)
{
	memcpy(reply->body + reply->length, data, length);
	reply->length += length;
}

void
reply_drop(struct reply *reply)
{
	reply->length = 0;
	while (reply->n_fds > 0)
		fd_close(reply->fds[--reply->n_fds]);
}
