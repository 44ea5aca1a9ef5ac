/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOCKET_CONNECT_H
#define SOCKET_CONNECT_H

/* Connects to a UNIX stream socket within a time limit, and has a sentence for all that can be
 * wrong. */

#include <stdint.h>

struct ivshmem_error;

/*
 * Connect to the server that listens on `path`, by `deadline` (clock_now()). If the descriptor
 * `cancel` (-1: none) becomes readable meanwhile, this ends with -ECANCELED. Returns the socket,
 * which blocks, or a negative errno and a sentence.
 */
int socket_connect(const char *path, uint64_t deadline, int cancel, struct ivshmem_error *reterr);

#endif
