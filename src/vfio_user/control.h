/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_CONTROL_H
#define VFIO_USER_CONTROL_H

/* What operators can ask a device for through its control socket (control/control.h). They can only
 * look. Answers are made in the loop thread, with the lock held. */

struct control;
struct vfio_user;

/* What the device itself does not know. All of it must outlive the control socket. */
struct vfio_user_facts {
	const char *name;    /* for metrics */
	const char *socket;  /* where VMMs connect */
	const char *server;  /* NULL: none */
	const char *memory;  /* what it is, if there is no server */
	const char *version; /* of the program */
};

/* `listen_fd` is a listening socket, borrowed, non-blocking. To be closed with control_free(), before
 * the device. -ENOMEM, ... */
int vfio_user_open_control(struct control **ret_control, struct vfio_user *vfio_user,
	const struct vfio_user_facts *facts, int listen_fd);

#endif
