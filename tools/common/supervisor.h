/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_SUPERVISOR_H
#define COMMON_SUPERVISOR_H

/*
 * What a service and the supervisor that started it, systemd for instance, say to each other through
 * the environment:
 *
 *	LISTEN_FDS	so many sockets are open, from descriptor 3 on
 *	LISTEN_PID	and they are meant for this process
 *	LISTEN_FDNAMES	and have these names, with colons between them
 *	NOTIFY_SOCKET	tell this datagram socket about our state; @NAME is an abstract one
 */

struct ivshmem_error;

/* As many as a server has at most: for clients, for observers, and one for each --member. */
#define SUPERVISOR_SOCKETS_MAX 258
#define SUPERVISOR_NAME_MAX    32

struct supervisor_socket {
	int fd;                         /* close-on-exec from now on */
	char name[SUPERVISOR_NAME_MAX]; /* "" if it has none; cut if it is longer */
};

/*
 * The sockets that were passed to this process: stores them and returns how many there are. To be
 * asked before fork(). -EINVAL if the variables make no sense, -E2BIG, -EBADF.
 */
int supervisor_sockets(
	struct supervisor_socket ret_sockets[SUPERVISOR_SOCKETS_MAX], struct ivshmem_error *reterr);

/*
 * Tell the supervisor, as sd_notify(3) does: "READY=1" and the like, one per line. Waits for a
 * moment at most. 1, 0 if nobody wants to know, or a negative errno.
 */
int supervisor_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
