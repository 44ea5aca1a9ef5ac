/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_REFUSAL_H
#define VFIO_USER_REFUSAL_H

/* What a VMM and the log are told when we refuse a message, or end the connection because of it. */

#include <vfio_user/protocol.h>

struct pace;

/* The reply to this request: an errno, which is positive, and no body. It may be the same header. */
void refusal_reply(const struct vfio_user_header *request, uint32_t error,
	struct vfio_user_header *ret_header);

/* Log why the connection ends. `code` is what channel_receive() or channel_send() has returned, and
 * `header` that of the last request. */
void refusal_log_end(struct pace *complaints, int code, const struct vfio_user_header *header);

#endif
