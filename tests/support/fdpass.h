/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SUPPORT_FDPASS_H
#define SUPPORT_FDPASS_H

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
 * descriptors, close-on-exec, are the caller's. ret_flags may be NULL: then MSG_CTRUNC is an error,
 * EMFILE.
 */
ssize_t fdpass_recv(int socket, void *bytes, size_t length, int *fds, size_t max_fds,
	size_t *ret_n_fds, int *ret_flags);

#endif
