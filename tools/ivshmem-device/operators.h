/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_OPERATORS_H
#define DEVICE_OPERATORS_H

/* The control socket of the program (--control-socket). */

#include <options.h>
#include <socket/listener.h>
#include <vfio_user/control.h>

#include <limits.h>

struct control;

struct operators {
	struct listener listener; /* fd -1: there is none */
	struct control *control;
	struct vfio_user_facts facts;
	char name[NAME_MAX + 1];
	char memory[PATH_MAX];
};

/* Does nothing without --control-socket. `place` is where VMMs connect. */
int operators_let_in(struct operators *operators, struct vfio_user *vfio_user,
	const struct device_options *options, const char *place, struct ivshmem_error *reterr);
/* Before the device is freed. */
void operators_send_away(struct operators *operators);

#endif
