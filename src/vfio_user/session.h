/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_SESSION_H
#define VFIO_USER_SESSION_H

/*
 * One VMM's use of the function, without the socket that its requests come from. A session begins when
 * a VMM connects, and ends when the VMM is gone. The function and its member outlive it.
 */

#include <ivshmem/common.h>

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

#endif
