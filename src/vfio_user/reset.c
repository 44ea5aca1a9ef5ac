/* SPDX-License-Identifier: BSD-2-Clause */
#include <function/function.h>
#include <vfio_user/session.h>

/* Eventfds and DMA mappings stay: QEMU resets before the guest runs, and with each guest. */
int
handle_reset(struct session *session, struct request *request, struct reply *reply)
{
	(void)request;
	(void)reply;
	ivshmem_device_reset(session->function->device);
	migration_reset(&session->migration);
	function_set_stopped(session->function, false);
	return 0;
}
