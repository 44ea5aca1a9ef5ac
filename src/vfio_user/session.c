/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/session.h>

#include <base/error.h>
#include <base/pace.h>
#include <vfio_user/protocol.h>

void
session_init(struct session *session, struct function *function, struct pace *complaints)
{
	*session = (struct session){
		.function = function,
		.complaints = complaints,
		.max_fds = VFIO_USER_DEFAULT_FDS,
		.max_transfer = VFIO_USER_MAX_TRANSFER,
	};
}
