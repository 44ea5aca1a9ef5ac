/* SPDX-License-Identifier: BSD-2-Clause */
#include <function/function.h>
#include <vfio_user/handlers.h>

int
handle_reset(struct session *session, struct request *request, struct reply *reply)
{
	(void)request;
	(void)reply;
	function_reset(session->function);
	return 0;
}
