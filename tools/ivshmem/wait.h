/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_WAIT_H
#define IVSHMEM_WAIT_H

#include "session.h"

/*
 * Wait for `count` rings of `vector` (or IVSHMEM_ANY_VECTOR), and take exactly so many. Earlier rings
 * that nobody took count, too. `deadline` is a time of clock_now(), or SESSION_FOREVER.
 */
enum status wait_for_rings(struct session *session, int vector, uint64_t count, uint64_t deadline);

#endif
