/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Any bytes as a record of the ids or of a roster. What is refused says why, and leaves nothing. What is
 * accepted is written again as the same bytes, and works: everybody reads all, and leaves.
 *
 * The first byte says which of the two, and whether the length and the number of descriptors are to be put
 * right, so that more or fewer fields are not the end of it. The next two say how many descriptors go along.
 */

#include <fuzz.h>

#include <server/ids.h>
#include <server/record.h>
#include <server/roster.h>

#include <ivshmem/common.h>

#include <endian.h>
#include <errno.h>

#define HEADER    3
#define IS_ROSTER 1
#define PUT_RIGHT 2
#define LENGTH_AT 16
#define NOW       INT64_MAX

static void
check_error(int r, const struct ivshmem_error *error)
{
	DEMAND(r == -EINVAL || r == -EPROTONOSUPPORT);
	DEMAND(error->code == r && error->message[0] != '\0');
}

static void
check_same(const struct record *record, struct record *again)
{
	DEMAND(again->size == record->size && again->n_fds == record->n_fds);
	DEMAND(memcmp(again->bytes, record->bytes, record->size) == 0);
	record_done(again);
}

static void
try_ids(const struct record *record)
{
	struct ivshmem_error error = {0};
	struct ids *ids = NULL;
	struct record again;
	uint16_t id;
	int r = ids_read(&ids, record, &error);

	if (r < 0) {
		check_error(r, &error);
		DEMAND(!ids);
		return;
	}
	DEMAND(ids_write(ids, &again) == 0);
	check_same(record, &again);
	DEMAND(ids_spent(ids, UINT64_MAX) == ids->n_used);
	r = ids_take(ids, UINT64_MAX, &id);
	if (ids_spent(ids, UINT64_MAX) == IDS_COUNT && r < 0)
		DEMAND(r == -ENOSPC);
	else
		DEMAND(r == 0 && ids->used[id]);
	free(ids);
}

/* What a reader is told must be whole, and an end. */
static void
read_all(struct roster *roster, struct peer *reader, unsigned at_once)
{
	struct wire_message messages[64];
	int n;

	do {
		n = roster_next(roster, reader, messages, at_once);
		DEMAND(n >= 0 && n <= (int)at_once);
		roster_told(roster, reader, (unsigned)n);
	} while (n > 0);
}

static void
live_on(struct roster *roster)
{
	struct peer *seats[1024];
	unsigned n_seats = 0, at_once = 1;

	list_for_each (link, &roster->readers)
		read_all(roster, container_of(link, struct peer, link), 1 + at_once++ % 64);
	list_for_each (link, &roster->log) {
		struct event *event = container_of(link, struct event, link);

		DEMAND(!event->leave);
		if (event->peer->kind == PEER_SEAT && n_seats < 1024)
			seats[n_seats++] = event->peer;
	}
	roster_done(roster);
	while (n_seats > 0)
		peer_free(seats[--n_seats]);
}

static void
try_roster(const struct record *record)
{
	struct ivshmem_error error = {0};
	struct roster roster;
	struct record again;
	int r = roster_read(&roster, record, NOW, -1, &error);

	if (r < 0) {
		check_error(r, &error);
		DEMAND(list_empty(&roster.log) && list_empty(&roster.readers));
		roster_done(&roster);
		return;
	}
	DEMAND(roster_write(&roster, &again) == 0);
	check_same(record, &again);
	live_on(&roster);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record record = {0};
	uint64_t right[2];

	if (size < HEADER)
		return 0;
	record.size = size - HEADER;
	record.n_fds = (size_t)(data[1] | data[2] << 8);
	record.bytes = malloc(record.size + (record.size == 0));
	record.fds = malloc((record.n_fds + 1) * sizeof(*record.fds));
	DEMAND(record.bytes && record.fds);
	memcpy(record.bytes, data + HEADER, record.size);
	/* None that could be closed by mistake. */
	for (size_t i = 0; i < record.n_fds; i++)
		record.fds[i] = -1;
	if ((data[0] & PUT_RIGHT) && record.size >= LENGTH_AT + sizeof(right)) {
		right[0] = htole64(record.size);
		right[1] = htole64(record.n_fds);
		memcpy(record.bytes + LENGTH_AT, right, sizeof(right));
	}
	if (data[0] & IS_ROSTER)
		try_roster(&record);
	else
		try_ids(&record);
	record_done(&record);
	return 0;
}
