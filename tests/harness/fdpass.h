/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef HARNESS_FDPASS_H
#define HARNESS_FDPASS_H

/*
 * Bytes and descriptors through a UNIX socket, on foot: so that tests of our own codec, and of the
 * kernel it stands on, share nothing with it.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FDPASS_MAX 253 /* SCM_MAX_FD: the most descriptors that one sendmsg() takes */

/* sendmsg() with descriptors (borrowed); without any, no control message. Returns what sendmsg()
 * does. */
ssize_t fdpass_send(int socket, const void *bytes, size_t length, const int *fds, size_t n_fds);

/*
 * recvmsg() of at most `length` bytes and `max_fds` descriptors. Returns what recvmsg() does; the
 * descriptors, close-on-exec, are the caller's. ret_flags may be NULL: then MSG_CTRUNC fails the
 * test.
 */
ssize_t fdpass_recv(int socket, void *bytes, size_t length, int *fds, size_t max_fds,
	size_t *ret_n_fds, int *ret_flags);

/* A pair of connected stream sockets, close-on-exec; `flags` such as SOCK_NONBLOCK. */
void fdpass_pair(int pair[2], int flags);

/* A descriptor that can be recognised after its journey: an eventfd holding `mark` (not 0). */
int mark_new(uint64_t mark);

/* The mark of a descriptor; it keeps it. */
uint64_t mark_of(int fd);

/* Demand that `fd` has this mark, and close it. */
void mark_check(int fd, uint64_t mark);

#endif
