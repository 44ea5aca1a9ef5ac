/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/usage.h>

#include <errno.h>
#include <stdlib.h>

struct user {
	struct list link; /* usage::buckets */
	uid_t id;
	unsigned n[2]; /* peers, observers */
};

static struct user *
find(const struct usage *usage, uid_t id)
{
	list_for_each (link, &usage->buckets[id % USAGE_BUCKETS]) {
		struct user *user = container_of(link, struct user, link);

		if (user->id == id)
			return user;
	}
	return NULL;
}

unsigned
usage_count(const struct usage *usage, uid_t id, bool observers)
{
	const struct user *user = find(usage, id);

	return user ? user->n[observers] : 0;
}

int
usage_add(struct usage *usage, uid_t id, bool observer)
{
	struct user *user = find(usage, id);

	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return -ENOMEM;
		user->id = id;
		list_append(&usage->buckets[id % USAGE_BUCKETS], &user->link);
	}
	user->n[observer]++;
	return 0;
}

void
usage_remove(struct usage *usage, uid_t id, bool observer)
{
	struct user *user = find(usage, id);

	if (!user)
		return;
	user->n[observer]--;
	if (user->n[0] > 0 || user->n[1] > 0)
		return;
	list_remove(&user->link);
	free(user);
}

void
usage_init(struct usage *usage)
{
	for (unsigned i = 0; i < USAGE_BUCKETS; i++)
		list_init(&usage->buckets[i]);
}

void
usage_done(struct usage *usage)
{
	for (unsigned i = 0; i < USAGE_BUCKETS; i++)
		list_for_each_safe (link, &usage->buckets[i])
			free(container_of(link, struct user, link));
}
