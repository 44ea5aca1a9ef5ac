/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef RECORD_PINGER_H
#define RECORD_PINGER_H

/* Round trips of a record of 8 bytes through a queue, to `ivshmem bench --serve NAME`. */

#include "cli.h"

#include <stddef.h>
#include <stdint.h>

/* The most round trips between two samples. */
#define PINGS_MAX 1000

struct pinger;

/* Take part, and connect; waits until somebody serves, and signals end the process meanwhile. A message is printed on
 * failure. */
enum status pinger_open(const struct cli *cli, const char *name, struct pinger **ret_pinger);
/* Also prints how it ended, if it did by itself. NULL is allowed. */
struct pinger *pinger_close(struct pinger *pinger);

/*
 * Make at most `n` round trips, until `deadline` (of clock_now()). How many there were. An answer that is late
 * is not waited for. If the other end is gone, there are none any more; `*ret_ended` is a sentence then, once.
 */
size_t pinger_run(
	struct pinger *pinger, uint64_t *ns, size_t n, uint64_t deadline, const char **ret_ended);

#endif
