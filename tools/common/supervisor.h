/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef COMMON_SUPERVISOR_H
#define COMMON_SUPERVISOR_H

/*
 * What a supervisor, such as systemd, tells a service through the environment:
 *
 *	LISTEN_FDS	the number of sockets that are open, from descriptor 3 on
 *	LISTEN_PID	the process that they are meant for
 *	LISTEN_FDNAMES	their names, with colons between them
 *	NOTIFY_SOCKET	the datagram socket that wants to hear about our state; @NAME is an
 *			abstract one
 *
 * A supervisor may also keep descriptors for the next process of the service, which gets them along
 * with the sockets, under the name that they were given.
 */

#include <stdbool.h>

struct ivshmem_error;
struct mmsghdr;

/* The most that a server has: for clients, for observers, one for each --member, and what was kept;
 * the last one may be there twice. */
#define SUPERVISOR_SOCKETS_MAX 260
#define SUPERVISOR_NAME_MAX    32

struct supervisor_socket {
	int fd;                         /* close-on-exec from now on */
	char name[SUPERVISOR_NAME_MAX]; /* "" if it has none; a longer one is cut */
};

/*
 * Store the sockets that were passed to this process, and return their number. Call it before fork().
 * -EINVAL if the variables make no sense, -E2BIG, -EBADF.
 */
int supervisor_sockets(
	struct supervisor_socket ret_sockets[SUPERVISOR_SOCKETS_MAX], struct ivshmem_error *reterr);

/*
 * Tell the supervisor about our state, as sd_notify(3) does: "READY=1" and the like, one per line.
 * Waits for at most 5 seconds. Returns 1, 0 if there is nobody to tell, or a negative errno.
 */
int supervisor_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Is there a supervisor that listens? */
bool supervisor_present(void);

/*
 * Give the supervisor a descriptor to keep, and have it drop all of that name. `name` is printable
 * and has no colon. Both return when the supervisor has read the message: 0, -ENOTCONN if there is
 * none, -ETIMEDOUT if it takes longer than 5 seconds, or another negative errno. supervisor_store()
 * also returns -ETIMEDOUT if the message is sent, and nobody can tell whether it was read. A
 * supervisor that is set up to keep nothing does not say so. If `noted` is not NULL, its msg_len is
 * not 0 any more once the message is sent, for somebody who looks when this process was killed.
 */
int supervisor_store(int fd, const char *name, struct mmsghdr *noted);
int supervisor_remove(const char *name);

#endif
