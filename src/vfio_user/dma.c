/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The VMM announces the guest's memory, and everything else that it has mapped, BAR2 included. An
 * ivshmem device has no DMA. So it accepts everything and keeps nothing: the descriptors are closed
 * with the request.
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
	/* Clients expect these bytes. A dirty bitmap, if argsz asks for one, would be empty. */
	reply_add(reply, request->body, sizeof(struct vfio_user_dma_unmap));
	return 0;
}
