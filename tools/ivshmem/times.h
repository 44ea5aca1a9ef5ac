/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_TIMES_H
#define IVSHMEM_TIMES_H

/* How long round trips took, and what is told of that: the shortest, the median, the 99th percentile
 * and the longest. */

#include "json.h"

#include <stddef.h>
#include <stdint.h>

struct times {
	uint64_t *ns;
	size_t n;
};

/* Make room for so many. 0, or -ENOMEM. */
int times_new(struct times *times, size_t most);
void times_free(struct times *times);

/* One more. There must be room. */
static inline void
times_add(struct times *times, uint64_t ns)
{
	times->ns[times->n++] = ns;
}

/* None is added after this. */
void times_sort(struct times *times);

/* "5 round trips, min 1.0 us, ...", with so many digits behind the point, of those that are sorted, one
 * at least. Returns `buffer`. */
#define TIMES_TEXT_MAX 160
char *times_text(const struct times *times, int digits, char buffer[TIMES_TEXT_MAX]);

/* "min_us" and the others, which are null if there was none. */
#define TIMES_JSON_HELP "\"min_us\":T,\"median_us\":T,\"p99_us\":T,\"max_us\":T"
void times_json(const struct times *times, struct json *json);

#endif
