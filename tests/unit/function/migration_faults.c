/* SPDX-License-Identifier: BSD-2-Clause */

/* Streams that are wrong or end early, and devices that are not migrated. */

#include <migration_sides.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Including the one at 0. */
PAIR_TEST(every_truncation)
{
	static struct snapshot before;
	char missing[64];
	size_t prefix;

	fill(&a, 5);
	save(&a);
	prefix = stream_size - MEMORY;
	for (size_t size = 0; size < stream_size; size++) {
		size_t written = size > prefix ? size - prefix : 0;

		fill(&b, 2);
		snap(&b, &before);
		go(&b, MIGRATION_RESUMING);
		put(&b, stream, size);
		CHECK_EQ(b.migration.loaded, size >= prefix);
		/* Whichever state is wanted. */
		snprintf(missing, sizeof(missing), "%zu of %zu bytes", stream_size - size,
			stream_size);
		go_refused(&b,
			size % 3 == 0   ? MIGRATION_STOP
			: size % 3 == 1 ? MIGRATION_RUNNING
					: MIGRATION_STOP_COPY,
			-EBADMSG, missing);
		CHECK_EQ(b.migration.state, MIGRATION_ERROR);
		check_state(&b, &before);
		CHECK_MEM(b.memory, stream + prefix, written);
		CHECK_MEM(b.memory + written, before.memory + written, MEMORY - written);
		put_refused(&b, stream, 1, -EINVAL, "ERROR");
		migration_reset(&b.migration);
	}
	/* and after all that it still works */
	resume(&b, MIGRATION_RUNNING);
}

/* A stream with one mistake before the memory. It is refused with the byte `at`, and nothing that
 * was there before is changed. */
static void
check_mistake(size_t at, int code, const char *reason)
{
	static struct snapshot before;

	fill(&b, 2);
	snap(&b, &before);
	/* byte by byte, and all at once */
	for (unsigned round = 0; round < 2; round++) {
		go(&b, MIGRATION_RESUMING);
		if (round == 0) {
			for (size_t i = 0; i < at; i++)
				put(&b, stream + i, 1);
			put_refused(&b, stream + at, 1, code, reason);
		} else {
			put_refused(&b, stream, stream_size, code, reason);
		}
		check_unchanged(&b, &before);
		/* once refused, it remains refused, whatever else comes */
		put_refused(&b, stream + at + 1, stream_size - at - 1, -EINVAL, "refused");
		put_refused(&b, stream, stream_size, -EINVAL, "refused");
		check_unchanged(&b, &before);
		CHECK_EQ(b.migration.state, MIGRATION_RESUMING);
		go_refused(&b, MIGRATION_RUNNING, -EBADMSG, "refused");
		CHECK_EQ(b.migration.state, MIGRATION_ERROR);
		check_unchanged(&b, &before);
		migration_reset(&b.migration);
	}
}

static void
put_be(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> 8 * (size - 1 - i));
}

PAIR_TEST(every_header_field)
{
	size_t state;

	fill(&a, 5);
	save(&a);
	state = stream_size - MEMORY - HEADER;
	for (unsigned i = 0; i < 8; i++) {
		stream[i] ^= 0x20;
		check_mistake(HEADER - 1, -EINVAL, "no migration stream");
		stream[i] ^= 0x20;
	}
	for (unsigned field = 0; field < 3; field++) {
		static const struct {
			unsigned at, size;
			const char *reason;
		} fields[] = {{8, 4, "version"}, {12, 4, "state in the stream"},
			{16, 8, "bytes of memory"}};
		uint64_t right = (const uint64_t[]){1, state, MEMORY}[field];
		uint64_t wrong[] = {0, right - 1, right + 1, right * 2, right << 8, UINT32_MAX,
			(uint64_t)1 << 63 | right, UINT64_MAX, right | (uint64_t)1 << 32};

		for (size_t i = 0; i < LENGTH(wrong); i++) {
			uint64_t value = wrong[i];
			bool newer = field == 0 && (uint32_t)value > right;

			if (fields[field].size == 4)
				value = (uint32_t)value;
			if (value == right)
				continue;
			put_be(stream + fields[field].at, fields[field].size, value);
			check_mistake(HEADER - 1, newer ? -EPROTONOSUPPORT : -EINVAL,
				fields[field].reason);
		}
		put_be(stream + fields[field].at, fields[field].size, right);
	}
	/* the right one, after all */
	resume(&b, MIGRATION_RUNNING);
}

/* The state of the device is checked by the device; what it says is passed on. */
PAIR_TEST(state_that_is_refused)
{
	size_t last;

	fill(&a, 5);
	save(&a);
	last = stream_size - MEMORY - 1;
	stream[HEADER] ^= 1;
	check_mistake(last, -EINVAL, "no saved state");
	stream[HEADER] ^= 1;
	stream[HEADER + 11] ^= 1;
	check_mistake(last, -EPROTONOSUPPORT, "version 1");
	stream[HEADER + 11] ^= 1;
	stream[HEADER + 40] ^= 1;
	check_mistake(last, -EINVAL, "config space");
	stream[HEADER + 40] ^= 1;
	resume(&b, MIGRATION_RUNNING);
}

PAIR_TEST(too_long)
{
	static struct snapshot before;

	fill(&a, 5);
	save(&a);
	for (unsigned round = 0; round < 3; round++) {
		size_t first = round == 0 ? stream_size : round == 1 ? stream_size - 1 : HEADER;

		fill(&b, 2);
		snap(&b, &before);
		go(&b, MIGRATION_RESUMING);
		put(&b, stream, first);
		CHECK_EQ(b.migration.loaded, round < 2);
		put_refused(&b, stream + first, stream_size - first + 1, -EINVAL, "longer");
		put_refused(&b, stream, 1, -EINVAL, "refused");
		go_refused(&b, MIGRATION_STOP, -EBADMSG, "refused");
		CHECK_EQ(b.migration.state, MIGRATION_ERROR);
		check_state(&b, &before);
		if (round == 2)
			CHECK_MEM(b.memory, before.memory, MEMORY);
		else
			CHECK_MEM(b.memory, stream + stream_size - MEMORY, MEMORY - 1);
		migration_reset(&b.migration);
	}
	/* All in one: the header is all right, and what follows it is too much. */
	go(&b, MIGRATION_RESUMING);
	fill(&b, 2);
	snap(&b, &before);
	put_refused(&b, stream, stream_size + 1, -EINVAL, "longer");
	check_unchanged(&b, &before);
}

/* Revision 0, before the server sent the memory. */
TEST_WITH(memory_that_is_not_there_yet, .end = close_all)
{
	struct shape shape = {0, true, true, 2};

	side_device(&a, &shape, MEMORY, IVSHMEM_DEVICE_MASTER_ON, 5);
	side_migration(&a);
	go_refused(&a, MIGRATION_STOP_COPY, -ENODATA, "no memory yet");
	/* as far as it came */
	CHECK_EQ(a.migration.state, MIGRATION_STOP);
	go_refused(&a, MIGRATION_RESUMING, -ENODATA, "no memory yet");
	CHECK_EQ(a.migration.state, MIGRATION_STOP);
	go(&a, MIGRATION_PRE_COPY);
	CHECK_EQ(get(&a, stream, 1), 0);
	go_refused(&a, MIGRATION_STOP_COPY, -ENODATA, "no memory yet");
	CHECK_EQ(a.migration.state, MIGRATION_PRE_COPY);
	CHECK_EQ(get(&a, stream, 1), 0);
	go(&a, MIGRATION_RUNNING);

	a.memory = calloc(1, MEMORY);
	CHECK(a.memory);
	CHECK_EQ(ivshmem_device_set_memory(a.device, a.memory, MEMORY, NULL), 0);
	migration_set_memory(&a.migration, a.memory);
	save(&a);
	/* what a stream has begun with stays */
	go(&a, MIGRATION_RESUMING);
	migration_set_memory(&a.migration, NULL);
	put(&a, stream, stream_size);
	go(&a, MIGRATION_STOP_COPY);
	CHECK_EQ(get(&a, stream, sizeof(stream)), stream_size);
}

/* Checklist 84 and 85, for this way of migration. */
TEST(only_the_master)
{
	static const struct {
		unsigned revision;
		enum ivshmem_device_master master;
		int32_t id;
		bool supported;
	} cases[] = {
		{0, IVSHMEM_DEVICE_MASTER_ON, 5, true},
		{0, IVSHMEM_DEVICE_MASTER_OFF, 0, false},
		{1, IVSHMEM_DEVICE_MASTER_ON, 0, true},
		{1, IVSHMEM_DEVICE_MASTER_AUTO, 0, true},
		{1, IVSHMEM_DEVICE_MASTER_AUTO, 1, false},
		{1, IVSHMEM_DEVICE_MASTER_OFF, 0, false},
	};

	for (size_t i = 0; i < LENGTH(cases); i++) {
		struct shape shape = {cases[i].revision, true, true, 2};

		side_device(&a, &shape, MEMORY, cases[i].master, cases[i].id);
		a.memory = calloc(1, MEMORY);
		CHECK(a.memory);
		side_migration(&a);
		CHECK_EQ(migration_supported(&a.migration), cases[i].supported);
		/* and whoever does not ask gets no stream all the same */
		if (!cases[i].supported) {
			go_refused(&a, MIGRATION_STOP_COPY, -EPERM, "peer mode");
			CHECK_EQ(a.migration.state, MIGRATION_STOP);
		}
		side_close(&a);
	}
}
