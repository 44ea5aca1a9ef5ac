/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_VFIO_USER_H
#define VFIO_USER_VFIO_USER_H

/*
 * Serves an ivshmem device to virtual machine monitors over vfio-user: one device, for one VMM
 * after the other.
 *
 * Theory of operation
 *
 * There are two threads and one lock. The access thread lives as long as a VMM is connected. It
 * waits for a request, takes the lock, handles the request, gives the lock back, and sends the
 * reply. So a VMM that does not read its replies stops only itself. The loop thread is the caller
 * of vfio_user_run(). It waits for events (the server's socket, rings of our own eventfds, resample
 * eventfds, signals, VMMs that connect), and dispatches the loop with the lock held. The two
 * threads get the lock in turn (turn.h), so no flood of requests or of events keeps one of them
 * from it. So all code that has state (loop, member, device, session) is only used with the lock
 * held, and needs to know nothing of threads.
 *
 * A VMM has the device from its first message on (door.h). A VMM that comes while another one has
 * the device waits for a moment, because it may be the same VM that comes back. Then it is answered
 * EBUSY.
 */

#include <member/member.h>
#include <vfio_user/door.h>

#include <ivshmem/device.h>

#include <stdbool.h>
#include <stdint.h>

struct ivshmem_error;
struct journal;
struct log;
struct loop;
struct vfio_user;

struct vfio_user_config {
	struct loop *loop;
	struct member *member;                      /* opened */
	const struct ivshmem_device_config *device; /* without ops, data and host_msix. Id and, in
						       revision 1, size are those of the member */
	const struct log *log; /* called with the lock held, by either thread */
	uint64_t spin_ns;      /* how long to look for the next request before sleeping */
	uint64_t grace_ns;     /* how long a VMM waits for the one before it, DOOR_GRACE mostly */
	bool listener_lasts;   /* others go on using the socket of vfio_user_listen() after us */

	/* How the member was opened, to open another one when the server is gone (copied, but what
	 * it points to is borrowed). NULL: the member stays. `rejoined`, which may be NULL, is
	 * called with the new member, after the one before was closed. It is the caller's to close. */
	const struct member_config *join;
	void (*rejoined)(struct member *member, void *data);
	void *data;

	struct journal *journal; /* NULL: none. Borrowed */
};

int vfio_user_new(struct vfio_user **ret_vfio_user, const struct vfio_user_config *config,
	struct ivshmem_error *reterr);

/*
 * The member's server is gone: to be called by `lost` of its configuration. While no VMM is
 * attached, the device joins a server that listens on the same socket. Returns whether no VMM is
 * attached now.
 */
bool vfio_user_lost(struct vfio_user *vfio_user);

/* Let VMMs in that connect to `socket`, which listens. It is borrowed, and to be closed after
 * vfio_user_free(). 0 or a negative errno. */
int vfio_user_listen(struct vfio_user *vfio_user, int socket);

/* Serve only the VMM at the other end of `*socket`, which is taken over. When the VMM is gone,
 * vfio_user_run() returns. 0 or a negative errno. */
int vfio_user_serve(struct vfio_user *vfio_user, int *socket);

/*
 * In a process that takes over: go on with the VMM that the journal has, if there is one, and with
 * the request that was under way. `only_one`: as after vfio_user_serve().
 */
int vfio_user_continue(struct vfio_user *vfio_user, bool only_one, struct ivshmem_error *reterr);

/* Let a VMM in that was accepted before. Takes *socket over. */
void vfio_user_admit(struct vfio_user *vfio_user, int *socket);

/* End all connections in an orderly way, and stop listening. Not to be called in a callback of the
 * loop. NULL is allowed. Returns NULL. */
struct vfio_user *vfio_user_free(struct vfio_user *vfio_user);

/* Run the loop until one of its callbacks calls vfio_user_quit(). 0 or a negative errno. */
int vfio_user_run(struct vfio_user *vfio_user);
void vfio_user_quit(struct vfio_user *vfio_user);

#endif
