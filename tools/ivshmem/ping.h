/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_PING_H
#define IVSHMEM_PING_H

#include "operands.h"
#include "session.h"

#define PING_COUNT      100
#define PING_COUNT_MAX  10000000
#define PING_TIMEOUT_NS UINT64_C(5000000000)

/* Measure `count` round trips. `bell` is one vector of one peer; interval and timeout (of each
 * answer) are in nanoseconds. */
enum status ping_peer(struct session *session, const struct bell *bell, uint64_t count,
	uint64_t interval, uint64_t timeout);

/*
 * Ring back once for each ring, `count` times (UINT64_MAX: until something ends it). Give up when no
 * ring has arrived for `timeout` nanoseconds (SESSION_FOREVER: never).
 */
enum status echo_peer(
	struct session *session, const struct bell *bell, uint64_t count, uint64_t timeout);

#endif
