/* SPDX-License-Identifier: BSD-2-Clause */

/* The states of migration: where there is a way, and where data flows. */

#include <migration_sides.h>

#include <errno.h>
#include <string.h>

/* VFIO's arcs without the peer-to-peer states, and the search that it prescribes. */
static const struct {
	unsigned from, to;
} arcs[] = {
	{MIGRATION_RUNNING, MIGRATION_STOP},
	{MIGRATION_STOP, MIGRATION_RUNNING},
	{MIGRATION_RUNNING, MIGRATION_PRE_COPY},
	{MIGRATION_PRE_COPY, MIGRATION_RUNNING},
	{MIGRATION_PRE_COPY, MIGRATION_STOP_COPY},
	{MIGRATION_STOP, MIGRATION_STOP_COPY},
	{MIGRATION_STOP_COPY, MIGRATION_STOP},
	{MIGRATION_STOP, MIGRATION_RESUMING},
	{MIGRATION_RESUMING, MIGRATION_STOP},
};

#define STATES 8

static const char *const names[STATES] = {
	"ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "-", "PRE_COPY", "-"};

/* Whether there is a way, and its states but the first as path_taken() has them. It must be the only
 * one of its length. */
static bool
search(unsigned from, unsigned to, char *ret_path)
{
	unsigned distance[STATES], ways[STATES] = {0}, before[STATES] = {0};
	unsigned queue[STATES], head = 0, tail = 0, reverse[STATES], n = 0;

	for (unsigned i = 0; i < STATES; i++)
		distance[i] = UINT32_MAX;
	distance[from] = 0;
	ways[from] = 1;
	queue[tail++] = from;
	while (head < tail) {
		unsigned at = queue[head++];

		/* no saving state in the middle */
		if (at != from && (at == MIGRATION_PRE_COPY || at == MIGRATION_STOP_COPY))
			continue;
		for (size_t i = 0; i < LENGTH(arcs); i++) {
			unsigned next = arcs[i].to;

			if (arcs[i].from != at)
				continue;
			if (distance[next] == UINT32_MAX) {
				distance[next] = distance[at] + 1;
				before[next] = at;
				queue[tail++] = next;
			}
			if (distance[next] == distance[at] + 1)
				ways[next] += ways[at];
		}
	}
	ret_path[0] = '\0';
	if (distance[to] == UINT32_MAX)
		return false;
	CHECK_EQ(ways[to], 1);
	for (unsigned at = to; at != from; at = before[at])
		reverse[n++] = at;
	while (n > 0) {
		strcat(ret_path, " ");
		strcat(ret_path, names[reverse[--n]]);
	}
	return true;
}

static const unsigned good_states[] = {MIGRATION_STOP, MIGRATION_RUNNING, MIGRATION_STOP_COPY,
	MIGRATION_RESUMING, MIGRATION_PRE_COPY};

/* And from each state to numbers that are none. */
SIDE_TEST(every_pair_of_states)
{
	static const uint32_t more[] = {8, 255, 256 + 2, 0xabcd, 0x80000002, UINT32_MAX};
	unsigned refused = 0;

	fill(&a, 1);
	save(&a);
	for (size_t i = 0; i < LENGTH(good_states); i++) {
		for (unsigned k = 0; k < STATES + LENGTH(more); k++) {
			unsigned from = good_states[i], to = k < STATES ? k : more[k - STATES];
			char path[256];
			bool possible = k < STATES && search(from, to, path);

			side_open(&b, &shapes[SHAPE_9]);
			CHECK_EQ(b.migration.state, MIGRATION_RUNNING);
			go(&b, from);
			if (from == MIGRATION_RESUMING)
				put(&b, stream, stream_size);
			path_taken(&b);
			/* the exception that VFIO makes */
			if (from == MIGRATION_STOP_COPY && to == MIGRATION_PRE_COPY)
				possible = false;
			if (possible) {
				go(&b, to);
				CHECK_STR(path_taken(&b), path);
			} else {
				go_refused(&b, to, -EINVAL, "migration state");
				CHECK_EQ(b.migration.state, from);
				CHECK_STR(path_taken(&b), "");
				refused++;
			}
			CHECK_EQ(migration_is_running(&b.migration),
				b.migration.state == MIGRATION_RUNNING ||
					b.migration.state == MIGRATION_PRE_COPY);
			side_close(&b);
		}
	}
	/* 0, 5, 7 and more from everywhere, and the exception */
	CHECK_EQ(refused, (3 + LENGTH(more)) * 5 + 1);
}

/* Only a reset leads out of ERROR. */
SIDE_TEST(error_is_left_by_reset_only)
{
	go(&a, MIGRATION_RESUMING);
	go_refused(&a, MIGRATION_STOP, -EBADMSG, "missing");
	CHECK_EQ(a.migration.state, MIGRATION_ERROR);
	CHECK_STR(path_taken(&a), " STOP RESUMING ERROR");
	for (uint32_t to = 0; to < 20; to++) {
		go_refused(&a, to, -EINVAL, "migration state");
		CHECK_EQ(a.migration.state, MIGRATION_ERROR);
		CHECK(!migration_is_running(&a.migration));
	}
	migration_reset(&a.migration);
	CHECK_EQ(a.migration.state, MIGRATION_RUNNING);
	CHECK(migration_is_running(&a.migration));
	go(&a, MIGRATION_PRE_COPY);
}

SIDE_TEST(reset_from_everywhere)
{
	static uint8_t byte;

	for (size_t i = 0; i < LENGTH(good_states); i++) {
		go(&a, good_states[i]);
		if (good_states[i] == MIGRATION_RESUMING)
			put(&a, "i", 1);
		if (good_states[i] == MIGRATION_STOP_COPY)
			CHECK_EQ(get(&a, &byte, 1), 1);
		migration_reset(&a.migration);
		CHECK_EQ(a.migration.state, MIGRATION_RUNNING);
	}
}

SIDE_TEST(where_data_flows)
{
	size_t n = 77;
	uint8_t byte = 0x55;

	for (size_t i = 0; i < LENGTH(good_states) + 1; i++) {
		unsigned state = MIGRATION_ERROR;

		migration_reset(&a.migration);
		if (i < LENGTH(good_states)) {
			state = good_states[i];
			go(&a, state);
		} else {
			go(&a, MIGRATION_RESUMING);
			go_refused(&a, MIGRATION_RUNNING, -EBADMSG, "missing");
		}
		a.error = (struct ivshmem_error){0};
		if (state == MIGRATION_STOP_COPY) {
			CHECK_EQ(get(&a, &byte, 1), 1);
			CHECK_EQ(byte, 'i');
			CHECK_EQ(get(&a, &byte, 0), 0);
		} else if (state == MIGRATION_PRE_COPY) {
			CHECK_EQ(get(&a, &byte, 1), 0);
		} else {
			CHECK_EQ(migration_read(&a.migration, &byte, 1, &n, &a.error), -EINVAL);
			CHECK(strstr(a.error.message, names[state]) != NULL);
			CHECK_EQ(n, 77);
		}
		if (state == MIGRATION_RESUMING) {
			put(&a, "", 0);
			put(&a, "i", 1);
		} else {
			put_refused(&a, "i", 1, -EINVAL, names[state]);
			put_refused(&a, "i", 0, -EINVAL, names[state]);
		}
	}
}
