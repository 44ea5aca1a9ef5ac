/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user/refusal.h>

#include <base/pace.h>
#include <vfio_user/message.h>

#include <errno.h>
#include <string.h>

void
refusal_reply(
	const struct vfio_user_header *request, uint32_t error, struct vfio_user_header *ret_header)
{
	*ret_header = (struct vfio_user_header){
		.id = request->id,
		.command = request->command,
		.size = sizeof(*ret_header),
		.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR,
		.error = error,
	};
}

void
refusal_log_end(struct pace *complaints, int code, const struct vfio_user_header *header)
{
	if (code == -EMSGSIZE)
		pace_printf(complaints,
			"the VMM is disconnected: it sent a message of %u bytes, which must be between %zu and %zu",
			header->size, sizeof(*header), sizeof(*header) + MESSAGE_MAX_BODY);
	else if (code == -EPROTO)
		pace_printf(complaints,
			"the VMM is disconnected: it sent more descriptors than a message may have");
	else if (code == -EMFILE)
		pace_printf(complaints,
			"the VMM is disconnected: no file descriptors are left for what it sent (raise the limit, ulimit -n)");
	else
		pace_printf(complaints, "the VMM is disconnected: %s", strerror(-code));
}
