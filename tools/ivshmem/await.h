/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AWAIT_H
#define IVSHMEM_AWAIT_H

/* Waiting for peers and vectors, which a server announces one by one. */

#include "session.h"

/*
 * Wait until we can be interrupted on `vector`, or on any if it is IVSHMEM_ANY_VECTOR: a slow server
 * may still be announcing our vectors. Complain and name the remedy when that vector can never come,
 * when the server has announced nothing for us for a while, at `deadline` (clock_now()), and when a
 * signal asks to end a command for which that is a failure.
 */
enum status session_await_vector(struct session *session, int vector, uint64_t deadline);

/*
 * A peer or vector is missing: wait as long as a slow server may still announce it, which it does soon
 * after we attached. Whether it announced something: then look again.
 */
bool session_await_news(struct session *session);

#endif
