/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AWAIT_H
#define IVSHMEM_AWAIT_H

/* Waiting for peers and vectors, which a server announces one by one. */

#include "session.h"

/*
 * Wait until we have `vector`, or any vector if it is IVSHMEM_ANY_VECTOR: a slow server may still be
 * announcing our vectors. Complain and name the remedy if the vector can never come, if the server
 * has announced none of our vectors for a while, at `deadline` (a time of clock_now()), or if a signal
 * ends a command for which that is a failure.
 */
enum status session_await_vector(struct session *session, int vector, uint64_t deadline);

/*
 * A peer or vector is missing: wait as long as a slow server may still announce it, which it does soon
 * after we attached. Returns whether the server announced something; then the caller looks again.
 */
bool session_await_news(struct session *session);

#endif
