/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_HANDLERS_H
#define VFIO_USER_HANDLERS_H

/*
 * Requests in, replies out: one by one, strictly in order, with the lock held.
 *
 * A handler either fills in the reply, or returns a negative errno with a sentence in
 * session->error. These become an error reply and a line in the log. -EPROTO ends the session,
 * because nothing sensible can follow. The body of the request is at least as long as the structure
 * that it begins with.
 *
 * A request of the right form gets no error that a VMM would not survive. Reads of what is not
 * there give all ones, as on a bus. (The client of Cloud Hypervisor waits for ever for the data of
 * an error reply.)
 */

#include <vfio_user/message.h>
#include <vfio_user/session.h>

#include <stdbool.h>

/*
 * Handle a request and make the reply: its header and, if that says no error, its body. Returns
 * true if the connection is to be closed after the reply.
 */
bool handle_request(struct session *session, struct request *request,
	struct vfio_user_header *ret_header, struct reply *reply);

/* Whether this command is an access of the guest. It changes nothing but the device. */
bool request_is_access(uint16_t command);

/* ---- the handlers ------------------------------------------------------------------------------ */

typedef int request_handler(struct session *session, struct request *request, struct reply *reply);

request_handler handle_version; /* version.c */

request_handler handle_device_info, handle_region_info, handle_irq_info; /* info.c */

request_handler handle_dma_map, handle_dma_unmap; /* dma.c */

request_handler handle_reset; /* reset.c */

request_handler handle_region_read, handle_region_write, handle_write_multi; /* access.c */

request_handler handle_set_irqs; /* set_irqs.c */

request_handler handle_io_fds; /* io_fds.c */

request_handler handle_feature, handle_mig_data_read, handle_mig_data_write; /* feature.c */

#endif
