/* SPDX-License-Identifier: BSD-2-Clause */

/* What is saved arrives, in pieces of any size. */

#include <migration_sides.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

TEST(every_shape_arrives)
{
	static struct snapshot source;

	for (size_t i = 0; i < LENGTH(shapes); i++) {
		unsigned vectors;

		side_open(&a, &shapes[i]);
		vectors = ivshmem_device_msix_vectors(a.device);
		fill(&a, 5);
		snap(&a, &source);
		save(&a);
		CHECK_MEM(stream, "ivshmig\0\0\0\0\1", 12);
		CHECK_MEM(stream + HEADER, source.state, source.size);
		CHECK_MEM(stream + HEADER + source.size, source.memory, MEMORY);

		side_open(&b, &shapes[i]);
		fill(&b, 8);
		resume(&b, MIGRATION_STOP);
		check_unchanged(&b, &source);
		/* the source has lost nothing and may go on, too */
		check_unchanged(&a, &source);
		CHECK_EQ(b.intx, a.intx);
		if (i == 1)
			CHECK(b.intx);
		go(&b, MIGRATION_RUNNING);
		/* What was pending at the source fires here once the host asks again. */
		for (unsigned v = 0; v < vectors; v++) {
			CHECK_EQ(b.sent[v], 0);
			ivshmem_device_retry(b.device, v);
			CHECK_EQ(b.sent[v], (v + 5) % 3 == 0);
		}
		CHECK_EQ(ivshmem_device_read(b.device, 0, 0, 4), 0x01020305);
		CHECK_EQ(ivshmem_device_read(b.device, 0, 4, 4) | 1, 0x0f0e0d05);
		CHECK(!b.intx);
		side_close(&b);
		side_close(&a);
	}
}

/* Into any device but one like it: refused, and nothing happened. */
TEST(no_other_shape_takes_it)
{
	static struct snapshot before;

	for (size_t i = 0; i < LENGTH(shapes); i++) {
		side_open(&a, &shapes[i]);
		fill(&a, 5);
		save(&a);
		for (size_t j = 0; j < LENGTH(shapes); j++) {
			if (i == j)
				continue;
			side_open(&b, &shapes[j]);
			fill(&b, 2);
			snap(&b, &before);
			go(&b, MIGRATION_RESUMING);
			put_refused(&b, stream, stream_size, -EINVAL, "state");
			check_unchanged(&b, &before);
			go_refused(&b, MIGRATION_RUNNING, -EBADMSG, "refused");
			CHECK_EQ(b.migration.state, MIGRATION_ERROR);
			check_unchanged(&b, &before);
			side_close(&b);
		}
		side_close(&a);
	}
}

TEST_WITH(pieces_of_any_size, .end = close_all)
{
	static uint8_t read[MAX_STREAM];
	static struct snapshot source;

	side_open(&a, &shapes[SHAPE_0]);
	side_open(&b, &shapes[SHAPE_0]);
	fill(&a, 5);
	snap(&a, &source);
	save(&a);
	for (size_t piece = 1; piece <= stream_size + 1; piece++) {
		size_t at = 0, n;

		go(&a, MIGRATION_STOP);
		go(&a, MIGRATION_STOP_COPY);
		while ((n = get(&a, read + at, piece)) > 0) {
			/* less than asked for is the end */
			CHECK_EQ(n, piece < stream_size - at ? piece : stream_size - at);
			at += n;
		}
		CHECK_EQ(at, stream_size);
		CHECK_MEM(read, stream, stream_size);

		ivshmem_device_reset(b.device);
		memset(b.memory, 0, MEMORY);
		go(&b, MIGRATION_RESUMING);
		for (at = 0; at < stream_size; at += n) {
			n = piece < stream_size - at ? piece : stream_size - at;
			put(&b, stream + at, n);
		}
		go(&b, MIGRATION_STOP);
		check_unchanged(&b, &source);
	}
}

PAIR_TEST(pieces_of_mixed_sizes)
{
	static struct snapshot source;

	fill(&a, 5);
	snap(&a, &source);
	srandom(1);
	for (unsigned round = 0; round < 200; round++) {
		uint8_t piece[1000];
		size_t n, most;

		go(&a, MIGRATION_STOP);
		go(&a, MIGRATION_STOP_COPY);
		go(&b, MIGRATION_RESUMING);
		do {
			most = 1 + (size_t)random() % (round % 2 ? 20 : sizeof(piece));
			n = get(&a, piece, most);
			put(&b, piece, n);
		} while (n == most);
		CHECK_EQ(get(&a, piece, 1), 0);
		go(&b, MIGRATION_STOP);
		check_unchanged(&b, &source);
		ivshmem_device_reset(b.device);
		memset(b.memory, 0, MEMORY);
	}
}

/* PRE_COPY has nothing to give, and takes nothing away. */
SIDE_TEST(everything_comes_in_stop_copy)
{
	static uint8_t whole[MAX_STREAM];
	size_t size;

	fill(&a, 5);
	save(&a);
	size = stream_size;
	memcpy(whole, stream, size);
	go(&a, MIGRATION_RUNNING);
	go(&a, MIGRATION_PRE_COPY);
	CHECK(migration_is_running(&a.migration));
	CHECK_EQ(get(&a, stream, sizeof(stream)), 0);
	/* the same state again is no change, and does not begin anew */
	go(&a, MIGRATION_STOP_COPY);
	CHECK_EQ(get(&a, stream, 100), 100);
	go(&a, MIGRATION_STOP_COPY);
	go_refused(&a, MIGRATION_PRE_COPY, -EINVAL, "PRE_COPY cannot be reached from STOP_COPY");
	go_refused(&a, 99, -EINVAL, "99");
	CHECK_EQ(get(&a, stream + 100, sizeof(stream) - 100), size - 100);
	CHECK_MEM(stream, whole, size);
}

/* The state is that of the moment of STOP_COPY, with the rings nobody had looked at; the memory
 * is what it is when it is read. */
PAIR_TEST(what_is_saved_when)
{
	uint8_t line = 1;

	a.waiting[8] = true;
	go(&a, MIGRATION_STOP);
	CHECK(a.waiting[8]);
	go(&a, MIGRATION_STOP_COPY);
	CHECK(!a.waiting[8]);
	CHECK_EQ(a.sent[8], 0);
	config_put(&a, 0x3c, 1, 99);
	a.memory[10] = 10;
	stream_size = get(&a, stream, HEADER);
	a.memory[10] = 11;
	stream_size += get(&a, stream + stream_size, sizeof(stream) - stream_size);

	resume(&b, MIGRATION_RUNNING);
	CHECK_EQ(b.memory[10], 11);
	ivshmem_device_config_read(b.device, 0x3c, &line, 1);
	CHECK_EQ(line, 0);
	for (unsigned v = 0; v < 9; v++) {
		ivshmem_device_retry(b.device, v);
		CHECK_EQ(b.sent[v], v == 8);
	}
}

/* A ring that comes between the state and the end of the stream is delivered. */
PAIR_TEST(rings_while_resuming)
{
	save(&a);
	go(&b, MIGRATION_RESUMING);
	put(&b, stream, stream_size - 1);
	CHECK_EQ(ivshmem_device_interrupt(b.device, 4), 0);
	put(&b, stream + stream_size - 1, 1);
	CHECK_EQ(b.sent[4], 0);
	go(&b, MIGRATION_RUNNING);
	ivshmem_device_retry(b.device, 4);
	CHECK_EQ(b.sent[4], 1);
}

/* Revision 0 may have more memory than BAR2. Only BAR2 is carried. */
TEST_WITH(memory_beyond_bar2, .end = close_all)
{
	struct shape shape = {0, true, true, 2};
	uint8_t after[16];

	memset(after, 0xee, sizeof(after));
	for (unsigned i = 0; i < 2; i++) {
		struct side *side = i ? &b : &a;

		side_device(side, &shape, MEMORY, IVSHMEM_DEVICE_MASTER_ON, 5);
		side->memory = malloc(3 * MEMORY);
		CHECK(side->memory);
		memset(side->memory, 0xee, 3 * MEMORY);
		CHECK_EQ(
			ivshmem_device_set_memory(side->device, side->memory, 3 * MEMORY, NULL), 0);
		side_migration(side);
	}
	memset(a.memory, 0x11, 3 * MEMORY);
	save(&a);
	resume(&b, MIGRATION_RUNNING);
	CHECK_MEM(b.memory, a.memory, MEMORY);
	CHECK_MEM(b.memory + MEMORY, after, sizeof(after));
}

/* A peer that writes all the time costs nothing but its own data. */
TEST(hostile_peer)
{
	struct shape shape = {1, true, true, 9};
	uint8_t *memory =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t peer;

	CHECK(memory != MAP_FAILED);
	side_device(&a, &shape, MEMORY, IVSHMEM_DEVICE_MASTER_ON, 0);
	a.memory = memory;
	CHECK_EQ(ivshmem_device_set_memory(a.device, memory, MEMORY, NULL), 0);
	side_migration(&a);
	side_open(&b, &shape);
	peer = test_fork();
	if (peer == 0)
		for (uint8_t n = 0;; n++)
			memset(memory, n, MEMORY);
	for (unsigned round = 0; round < 500; round++) {
		save(&a);
		resume(&b, MIGRATION_RUNNING);
		CHECK_MEM(b.memory, stream + stream_size - MEMORY, MEMORY);
		go(&a, MIGRATION_RUNNING);
		/* and into it */
		resume(&a, MIGRATION_RUNNING);
	}
	CHECK_SYS(kill(peer, SIGKILL));
	CHECK_SYS(waitpid(peer, NULL, 0));
	side_close(&b);
	a.memory = NULL;
	side_close(&a);
	CHECK_SYS(munmap(memory, MEMORY));
}
