/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_GREETING_H
#define IVSHMEM_GREETING_H

/*
 * What a connection says first to the UNIX socket of a Firecracker vsock: "CONNECT PORT\n". The answer
 * is "OK NUMBER\n", or the end of the connection. (Firecracker, docs/vsock.md)
 */

#include <stdint.h>

/* The longest one, with its newline and a 0. */
#define GREETING_MAX 20

struct greeting {
	char text[GREETING_MAX];
	unsigned length;
};

/* Read more of it, and nothing of what follows it. 0 with the port, -EAGAIN, or why there is none:
 * -EPROTO, -EPIPE (the connection has ended), or an error of read(). */
int greeting_read(struct greeting *greeting, int fd, uint32_t *ret_port);

/* Accept the connection. 0, or an error of write(). */
int greeting_answer(int fd, uint64_t number);

#endif
