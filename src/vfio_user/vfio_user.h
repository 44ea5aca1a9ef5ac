/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VFIO_USER_VFIO_USER_H
#define VFIO_USER_VFIO_USER_H

/*
 * Presents an ivshmem device to a virtual machine monitor over vfio-user: one device, one VMM at a
 * time, as many after each other as there are.
 *
 * Theory of operation
 *
 * There are two threads and one lock. The access thread lives as long as a VMM is connected: it
 * waits for a request, takes the lock, lets the session handle it, gives the lock back, and sends
 * the reply. So a VMM that does not read its replies holds up nobody but itself. The loop thread is
 * whoever calls vfio_user_run(): it waits until the loop has something to do, and dispatches it
 * with the lock held, which the two get in turn (turn.h), so that no flood of requests or of events
 * keeps the other one from it: the server's socket, rings of our own eventfds, resample eventfds, signals,
 * VMMs that connect. So everything below tools/ that has state (loop, member, device, session) is
 * only ever used with the lock held, and none of it needs to know of threads.
 *
 * A VMM has the device from its first message on, not before (door.h). One that comes while another
 * is there waits for a moment, for it may be the same VM coming back, and is answered EBUSY then.
 */

#include <member/member.h>
#include <vfio_user/door.h>

#include <ivshmem/device.h>

#include <stdbool.h>
#include <stdint.h>

struct ivshmem_error;
struct log;
struct loop;
struct vfio_user;

struct vfio_user_config {
	struct loop *loop;
	struct member *member;                      /* opened */
	const struct ivshmem_device_config *device; /* but for ops, data and host_msix; the id and,
						       in revision 1, the size are the member's */
	const struct log *log; /* called with the lock held, by either thread */
	uint64_t spin_ns;      /* how long to look for the next request before sleeping */
	uint64_t grace_ns;     /* how long a VMM waits for the one before it, DOOR_GRACE mostly */
	bool listener_lasts;   /* the socket of vfio_user_listen() outlives us in other hands */

	/* How the member was opened, to do it again (copied, but what it points to is borrowed); NULL:
	 * it stays. Then `rejoined` is called with the new member, which is the caller's to close as
	 * the one before was; that one is closed. May be NULL. */
	const struct member_config *join;
	void (*rejoined)(struct member *member, void *data);
	void *data;
};

int vfio_user_new(struct vfio_user **ret_vfio_user, const struct vfio_user_config *config,
	struct ivshmem_error *reterr);

/*
 * The member's server is gone: to be called by `lost` of its configuration. While no VMM is
 * attached, a server that listens on the same socket is joined instead. Returns whether that is so
 * now.
 */
bool vfio_user_lost(struct vfio_user *vfio_user);

/* Let VMMs in that connect to `socket`, which listens; borrowed, and to be closed after
 * vfio_user_free(). 0 or a negative errno. */
int vfio_user_listen(struct vfio_user *vfio_user, int socket);

/* Serve the VMM at the other end of `*socket`, which is taken over, and no other: when it is gone,
 * vfio_user_run() returns. 0 or a negative errno. */
int vfio_user_serve(struct vfio_user *vfio_user, int *socket);

/* Ends all connections in an orderly way; nobody listens on the socket any more. Not from within a
 * callback of the loop. NULL is allowed. Returns NULL. */
struct vfio_user *vfio_user_free(struct vfio_user *vfio_user);

/* Run the loop until vfio_user_quit(), which is called from a callback of it. 0 or a negative errno. */
int vfio_user_run(struct vfio_user *vfio_user);
void vfio_user_quit(struct vfio_user *vfio_user);

#endif
