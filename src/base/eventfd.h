/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_EVENTFD_H
#define BASE_EVENTFD_H

/*
 * Eventfds that others hold, too. O_NONBLOCK belongs to everybody who holds one, so it may be on or
 * off at any moment and is not ours to change: what is done here does not rely on it.
 */

#include <stdbool.h>
#include <stdint.h>

/*
 * Is it an eventfd? Another descriptor, from somebody who is not trusted, could block us or feed us
 * with garbage. Without /proc there is no way to tell, and it is taken for one.
 */
bool eventfd_is(int fd);

/*
 * Do two descriptors stand for the same eventfd? Without /proc, or before Linux 5.2, there is no way
 * to tell, and they do not.
 */
bool eventfd_same(int a, int b);

/* Add 1 to the counter. A full counter is one that rings already: that is success. For eventfds of
 * others see ringer.h. */
int eventfd_ring(int fd);

/* Read and reset the counter. -EAGAIN: it is 0. */
int eventfd_take(int fd, uint64_t *ret_count);

#endif
