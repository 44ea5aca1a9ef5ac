/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_WAIT_H
#define IVSHMEM_WAIT_H

#include "session.h"

/*
 * Wait until `count` rings of `vector` (or IVSHMEM_ANY_VECTOR) came, those included that came
 * before and that nobody took, and take them: exactly so many. `deadline` is of clock_now(),
 * or SESSION_FOREVER.
 */
enum status wait_for_rings(struct session *session, int vector, uint64_t count, uint64_t deadline);

#endif
