/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_SESSION_H
#define VFIO_USER_SESSION_H

/*
 * One VMM's use of the function: requests in, replies out, without the socket they come from.
 *
 * A session begins when a VMM connects and ends when it is gone; the function and the membership it
 * works on outlive it. Requests are handled one by one and strictly in order, with the lock held.
 * A handler either fills in the reply, or returns a negative errno with a sentence, which becomes
 * an error reply and a line in the log. -EPROTO ends the session: nothing sensible can follow.
 *
 * A request that has the right form never gets an error if a VMM would not survive that: accesses
 * to what is not there read as all ones, as on a bus (the client of Cloud Hypervisor waits for the
 * payload of such a reply for ever).
 */

#include <base/error.h>
#include <base/pace.h>
#include <vfio_user/protocol.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct function;

struct request {
	struct vfio_user_header header;
	const uint8_t *body; /* of any alignment */
	size_t length;       /* of the body */
	int *fds;            /* a handler that keeps one sets it to -1; the others are closed */
	unsigned n_fds;
};

struct reply {
	uint8_t *message;                 /* room for the header, then the body */
	uint8_t *body;                    /* SESSION_MAX_BODY bytes */
	size_t length;                    /* of the body */
	int fds[VFIO_USER_MAX_REPLY_FDS]; /* owned: closed after sending */
	unsigned n_fds;
};

struct session {
	struct function *function;
	struct pace *complaints;
	bool negotiated;
	struct error error; /* why the last request was refused */

	/* what the client said it takes */
	unsigned max_fds;
	uint32_t max_transfer;
};

/* The largest body in either direction: data, and the structure before it. */
#define SESSION_MAX_BODY ((size_t)VFIO_USER_MAX_TRANSFER + 64)

void session_init(struct session *session, struct function *function, struct pace *complaints);

/*
 * Handle a request and make the reply: its header and, if that says no error, its body. Returns
 * true if the connection is to be closed after the reply.
 */
bool session_handle(struct session *session, struct request *request,
	struct vfio_user_header *ret_header, struct reply *reply);

/* ---- for the handlers ------------------------------------------------------------------------- */

typedef int session_handler(struct session *session, struct request *request, struct reply *reply);

/* The reason for a refusal; returns `code`. */
int session_refuse(struct session *session, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Make room for a reply, for as many sessions as there are. -ENOMEM. */
int reply_init(struct reply *reply);
void reply_done(struct reply *reply);

/* Append to the reply. */
void reply_add(struct reply *reply, const void *data, size_t length);
/* Nothing of it is wanted: close its descriptors. */
void reply_drop(struct reply *reply);

session_handler handle_version; /* version.c */

session_handler handle_device_info, handle_region_info, handle_irq_info; /* info.c */

session_handler handle_dma_map, handle_dma_unmap; /* dma.c */

session_handler handle_reset; /* reset.c */

session_handler handle_region_read, handle_region_write, handle_write_multi; /* access.c */

session_handler handle_set_irqs; /* set_irqs.c */

session_handler handle_io_fds; /* io_fds.c */

session_handler handle_feature, handle_mig_data_read, handle_mig_data_write; /* feature.c */

#endif
