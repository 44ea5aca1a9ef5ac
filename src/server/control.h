/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

/* What operators can ask a server for, and tell it, through its control socket (control/control.h). */

#include <stdint.h>

struct control;
struct server;

/* What the server itself does not know. All of it must outlive the control socket. */
struct server_facts {
	const char *region;    /* its name, for metrics */
	const char *socket;    /* where clients connect */
	const char *memory;    /* what it is made of, in words */
	uint64_t memory_size;  /* bytes */
	const char *version;   /* of the program */
	const char *continues; /* the version of the server before us, NULL if there was none */
};

/* `listen_fd` is a listening socket, borrowed, non-blocking. To be closed with control_free(), before
 * the server. -ENOMEM, ... */
int server_open_control(struct control **ret_control, struct server *server,
	const struct server_facts *facts, int listen_fd);

#endif
