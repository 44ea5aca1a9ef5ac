/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_DOORBELL_CROWD_H
#define BENCH_DOORBELL_CROWD_H

/*
 * Clients of an ivshmem-server that are only there: they have an id and can be rung, and read what
 * they are sent without looking at it. Their eventfds are closed as they come.
 */

#include <stdint.h>

/* One more client joins; its id. The server lists its vectors to everybody. */
uint16_t crowd_join(const char *server);
/* They all go. */
void crowd_leave(void);

#endif
