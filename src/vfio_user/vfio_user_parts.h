/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_VFIO_USER_PARTS_H
#define VFIO_USER_VFIO_USER_PARTS_H

/* What a vfio_user is made of: for vfio_user.c, and for control.c, which tells operators of it. */

#include <base/pace.h>
#include <function/function.h>
#include <member/successor.h>
#include <socket/process.h>
#include <vfio_user/channel.h>
#include <vfio_user/door.h>
#include <vfio_user/session.h>
#include <vfio_user/turn.h>

#include <pthread.h>

struct journal;
struct log;
struct loop;
struct member;
struct vfio_user_facts;

struct vfio_user {
	struct turn turn; /* the lock */
	bool ending;      /* no request is handled any more */
	struct loop *loop;
	const struct log *log;
	struct function *function;
	struct ivshmem_device_config device; /* what the function's device is made from */
	void (*rejoined)(struct member *member, void *data);
	void *data;
	uint64_t spin_ns;
	struct journal *journal; /* NULL: none */
	bool quit;
	bool only_one; /* no other VMM can come */

	uint64_t since;                      /* clock_now() */
	const struct vfio_user_facts *facts; /* for operators */
	struct pace visits;                  /* who came and went */
	struct pace complaints;              /* of what VMMs do */
	struct door door;
	struct successor successor;

	/* the VMM that is connected */
	struct process vmm;
	uint64_t vmm_since; /* clock_now() */
	int socket; /* -1: none. The loop thread closes it when the access thread has ended */
	pthread_t thread;
	struct session session;
	struct channel channel;
	struct reply reply;
	struct loop_source done; /* an eventfd, which the access thread rings at its end */
};

#endif
