/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_REFUSAL_H
#define VFIO_USER_REFUSAL_H

/*
 * Tells a VMM that another one has the device: its first request is answered with EBUSY. Just
 * closing the socket would not do, for QEMU dies of a connection that is reset.
 */

#include <loop.h>

#define REFUSALS 4

struct refusals {
	struct loop *loop;
	struct refusal {
		struct loop_source source; /* source.fd is owned while it is watched */
		struct loop_timer timer;   /* it gets so long to say something */
	} at_work[REFUSALS];
};

void refusals_init(struct refusals *refusals, struct loop *loop);
void refusals_done(struct refusals *refusals);

/* Takes *socket over. If too many are being refused, the one that waits longest is cut. */
void refusals_add(struct refusals *refusals, int *socket);

#endif
