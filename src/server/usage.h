/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_USAGE_H
#define SERVER_USAGE_H

/* How many clients each user has. What this costs does not depend on how many clients there are, as
 * long as there are not many more users than buckets. */

#include <base/list.h>

#include <stdbool.h>
#include <sys/types.h>

#define USAGE_BUCKETS 256

struct usage {
	struct list buckets[USAGE_BUCKETS];
};

void usage_init(struct usage *usage);
void usage_done(struct usage *usage);

/* Of this user: peers, or observers. */
unsigned usage_count(const struct usage *usage, uid_t user, bool observers);
/* One more, and one less of those that were added. -ENOMEM. */
int usage_add(struct usage *usage, uid_t user, bool observer);
void usage_remove(struct usage *usage, uid_t user, bool observer);

#endif
