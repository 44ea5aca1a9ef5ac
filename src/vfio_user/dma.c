/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The VMM announces the guest's memory, and everything else that it has mapped, BAR2 included. An
 * ivshmem device has no DMA. So it accepts everything and keeps nothing: the descriptors are closed
 * with the request.
 */
#include <function/function.h>
#include <vfio_user/handlers.h>

int
handle_dma_map(struct session *session, struct request *request, struct reply *reply)
{
	(void)request;
	(void)reply;
	session->function->tally.dma_maps++;
	return 0;
}

int
handle_dma_unmap(struct session *session, struct request *request, struct reply *reply)
{
	session->function->tally.dma_unmaps++;
	/* Clients expect these bytes. A dirty bitmap, if argsz asks for one, would be empty. */
	reply_add(reply, request->body, sizeof(struct vfio_user_dma_unmap));
	return 0;
}
