/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/ids.h>

#include <server/record.h>

#include <errno.h>
#include <stdlib.h>

#define RECORD_NAME    "ids"
#define RECORD_VERSION 1
#define STAMP_MAX      INT64_MAX /* far from the end of the counter */

void
ids_init(struct ids *ids)
{
	/* The owner allocated the arrays zeroed. Pages that nobody uses stay untouched. */
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

/* ---- the record ------------------------------------------------------------------------------ */

/*
 *	now, next
 *	how many ids follow: those that are used, or have a past
 *	each of them, in ascending order: id, used, retired
 */
int
ids_write(const struct ids *ids, struct record *ret_record)
{
	uint64_t n = 0;

	for (uint32_t id = 0; id < IDS_COUNT; id++)
		n += ids->used[id] || ids->retired[id] > 0;
	record_begin(ret_record, RECORD_NAME, RECORD_VERSION);
	record_put(ret_record, ids->now);
	record_put(ret_record, ids->next);
	record_put(ret_record, n);
	for (uint32_t id = 0; id < IDS_COUNT; id++) {
		if (!ids->used[id] && ids->retired[id] == 0)
			continue;
		record_put(ret_record, id);
		record_put(ret_record, ids->used[id]);
		record_put(ret_record, ids->retired[id]);
	}
	return record_end(ret_record);
}

int
ids_read(struct ids **ret_ids, const struct record *record, struct ivshmem_error *reterr)
{
	struct ids *ids = calloc(1, sizeof(*ids));
	struct record_reader in;
	uint64_t n, id, first = 0;
	int r;

	if (!ids)
		return -ENOMEM;
	ids_init(ids);
	record_open(&in, record, RECORD_NAME, RECORD_VERSION, reterr);
	ids->now = record_get(&in, "time", 0, STAMP_MAX);
	ids->next = (uint32_t)record_get(&in, "next id", 0, IDS_COUNT - 1);
	n = record_get(&in, "number of ids", 0, IDS_COUNT);
	in.part = "entry";
	for (in.number = 0; in.number < n && in.error == 0; in.number++) {
		/* In ascending order, with room for those that follow. */
		id = record_get(&in, "id", first, IDS_COUNT - n + in.number);
		first = id + 1;
		ids->used[id] = record_get(&in, "mark of use", 0, 1);
		/* An id that is neither used nor retired has no entry. */
		ids->retired[id] = record_get(&in, "stamp", !ids->used[id], ids->now);
		ids->n_used += ids->used[id];
	}
	r = record_close(&in);
	if (r < 0)
		free(ids);
	else
		*ret_ids = ids;
	return r;
}
