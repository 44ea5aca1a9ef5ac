/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_SESSION_H
#define VFIO_USER_SESSION_H

/*
 * One VMM's use of the function: requests in, replies out, without the socket they come from.
 *
 * A session begins when a VMM connects and ends when it is gone; the function and the membership it
 * works on outlive it. Requests are handled one by one and strictly in order, with the lock held.
 */

#include <ivshmem/common.h>

#include <vfio_user/message.h>

#include <stdbool.h>
#include <stdint.h>

struct function;
struct pace;

struct session {
	struct function *function;
	struct pace *complaints;
	bool negotiated;
	struct ivshmem_error error; /* why the last request was refused */

	/* what the client said it takes */
	unsigned max_fds;
	uint32_t max_transfer;
};

void session_init(struct session *session, struct function *function, struct pace *complaints);

/*
 * Handle a request and make the reply: its header and, if that says no error, its body. Returns
 * true if the connection is to be closed after the reply.
 */
bool session_handle(struct session *session, struct request *request,
	struct vfio_user_header *ret_header, struct reply *reply);

#endif
