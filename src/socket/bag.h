/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOCKET_BAG_H
#define SOCKET_BAG_H

/*
 * Many descriptors in one: a socket that has messages with all of them in its queue. Who keeps the
 * bag keeps all that is in it, without having them open.
 *
 * Theory of operation
 *
 * The messages are sent into one end of a socket pair, and that end is closed. The other end is the
 * bag. The order is kept, and so is the number: each message says how many descriptors there are
 * altogether, and how many before it, so that a part of a bag is never taken for the whole.
 *
 * bag_read() looks at the messages without taking them out (SO_PEEK_OFF). So a reader that fails
 * leaves the bag as it was, for the next one. bag_empty() takes everything out, for all who have
 * the bag: a descriptor that nobody else holds is closed then. Whoever takes out the first message
 * has taken the bag: if it is killed before the last one, the bag still counts as taken.
 *
 * That the kernel does all this is shown in tests/platform/queues.c. Two of its limits matter. The
 * messages need room in the send buffer, which bag_room() tells. And descriptors in a queue count
 * against the limit of those that a user may have in flight, unless the process has
 * CAP_SYS_RESOURCE or CAP_SYS_ADMIN.
 */

#include <stdbool.h>
#include <stddef.h>

struct ivshmem_error;

/* How many descriptors fit into a bag that this process makes. */
size_t bag_room(void);

/*
 * Put them into a new bag; they are borrowed. -ETOOMANYREFS: the kernel takes no more descriptors.
 * -ENOBUFS: there are more than bag_room(). -EMFILE, -ENOMEM.
 */
int bag_new(int *ret_bag, const int *fds, size_t n);

/*
 * Open all that is in the bag, close-on-exec. The array is allocated. -ENODATA: it is empty.
 * -EINVAL: it is no bag, or not all of it is there. -EMFILE, -ENOMEM.
 */
int bag_read(int bag, int **ret_fds, size_t *ret_n, struct ivshmem_error *reterr);

/* Has somebody emptied it, or begun to, or is it no bag? */
bool bag_is_taken(int bag);
void bag_empty(int bag);

#endif
