/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/ids.h>

#include <errno.h>

void
ids_init(struct ids *ids)
{
	/* The arrays are left alone: the owner allocated them zeroed, and unused pages stay
	 * untouched. */
	ids->now = 0;
	ids->next = 0;
	ids->n_used = 0;
}

uint64_t
ids_stamp(struct ids *ids)
{
	return ++ids->now;
}

int
ids_take(struct ids *ids, uint64_t oldest, uint16_t *ret_id)
{
	for (uint32_t i = 0; i < IDS_COUNT; i++) {
		uint32_t id = (ids->next + i) % IDS_COUNT;

		if (ids->used[id] || ids->retired[id] >= oldest)
			continue;
		ids->used[id] = true;
		ids->n_used++;
		ids->next = (id + 1) % IDS_COUNT;
		*ret_id = (uint16_t)id;
		return 0;
	}
	return -ENOSPC;
}

int
ids_reserve(struct ids *ids, uint16_t id)
{
	if (ids->used[id])
		return -EINVAL;
	ids->used[id] = true;
	ids->n_used++;
	return 0;
}

uint32_t
ids_spent(const struct ids *ids, uint64_t oldest)
{
	uint32_t spent = 0;

	for (uint32_t id = 0; id < IDS_COUNT; id++)
		spent += ids->used[id] || ids->retired[id] >= oldest;
	return spent;
}

void
ids_release(struct ids *ids, uint16_t id, bool announced)
{
	ids->used[id] = false;
	ids->n_used--;
	if (announced)
		ids->retired[id] = ids_stamp(ids);
}
