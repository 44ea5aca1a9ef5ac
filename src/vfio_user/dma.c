/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The VMM tells of the guest's memory, and of everything else it has mapped, BAR2 included. An
 * ivshmem device has no DMA, so it says yes to everything and keeps nothing: the descriptors are
 * closed with the request.
 */
#include <vfio_user/handlers.h>

int
handle_dma_map(struct session *session, struct request *request, struct reply *reply)
{
	(void)session;
	(void)request;
	(void)reply;
	return 0;
}

int
handle_dma_unmap(struct session *session, struct request *request, struct reply *reply)
{
	(void)session;
	/* Whatever its argsz says, a dirty bitmap would be empty, and clients expect these bytes. */
	reply_add(reply, request->body, sizeof(struct vfio_user_dma_unmap));
	return 0;
}
