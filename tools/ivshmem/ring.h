/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_RING_H
#define IVSHMEM_RING_H

#include "operands.h"
#include "session.h"

/* Ring each of `bells` `count` times. If one fails, the others are still rung. */
enum status ring_bells(
	struct session *session, const struct bell *bells, unsigned n_bells, uint64_t count);

/* Say why ringing failed. Returns STATUS_FAILURE. */
enum status ring_fail(const struct session *session, uint16_t peer, unsigned vector, int error);

#endif
