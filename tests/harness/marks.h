/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef HARNESS_MARKS_H
#define HARNESS_MARKS_H

/* Descriptors that tests pass through sockets (fdpass.h), and recognise at the other end. */

#include <stdint.h>

/* A pair of connected stream sockets, close-on-exec; `flags` such as SOCK_NONBLOCK. */
void fdpass_pair(int pair[2], int flags);

/* A descriptor that can be recognised after its journey: an eventfd holding `mark` (not 0). */
int mark_new(uint64_t mark);

/* The mark of a descriptor; it keeps it. */
uint64_t mark_of(int fd);

/* Demand that `fd` has this mark, and close it. */
void mark_check(int fd, uint64_t mark);

#endif
