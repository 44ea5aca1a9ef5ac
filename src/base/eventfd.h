/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_EVENTFD_H
#define BASE_EVENTFD_H

/*
 * Eventfds that other processes hold, too. O_NONBLOCK belongs to all who hold one: it may be on or
 * off at any moment, and is not ours to change. So nothing here relies on it.
 */

#include <stdbool.h>
#include <stdint.h>

/*
 * Is it an eventfd? Another kind of descriptor, from somebody who is not trusted, could block us or
 * feed us garbage. Without /proc nobody can tell, and the descriptor counts as an eventfd.
 */
bool eventfd_is(int fd);

/*
 * Do two descriptors stand for the same eventfd? Without /proc, or before Linux 5.2, nobody can
 * tell, and the answer is no.
 */
bool eventfd_same(int a, int b);

/* What the counter is now, without resetting it. -EOPNOTSUPP: the kernel does not tell. */
int eventfd_count(int fd, uint64_t *ret_count);

/* Add 1 to the counter. A full counter is success, because it rings already. For eventfds of others
 * see ringer.h. */
int eventfd_ring(int fd);

/* Read and reset the counter. -EAGAIN: it is 0. */
int eventfd_take(int fd, uint64_t *ret_count);

#endif
