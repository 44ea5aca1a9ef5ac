/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ivshmem.ko as programs see it. It runs in a guest (tests/vm/test_driver.py), as root, with one device
 * that rings itself: what a peer rings is the same interrupt. Each ring of its own id is waited for, or
 * it would come to the next test.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

/* ---- what it says of itself ---- */

TEST(info_of_the_device)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = info_of(fd);

	CHECK_EQ(info.size, sizeof(info));
	CHECK(info.memory_size >= PAGE && (info.memory_size & (info.memory_size - 1)) == 0);
	if (info.vectors != 0)
		CHECK(info.peer >= 0 && info.peer <= 65535);
	CHECK((info.features & IVSHMEM_DEV_FEATURE_WORDS) != 0 || info.doorbell_size == 0);
	if (info.doorbell_size != 0)
		CHECK_EQ(info.doorbell_size,
			(uint64_t)info.doorbell_peers << info.doorbell_shift << 2);
	CHECK_SYS(close(fd));
}

/* A shorter struct gets what fits; a longer one is cleared beyond what the kernel knows. */
TEST(info_of_another_size)
{
	int fd = open_node(O_RDONLY);
	struct ivshmem_dev_info info = info_of(fd);
	struct {
		struct ivshmem_dev_info info;
		uint8_t more[64];
	} longer = {.info.size = sizeof(longer)};
	struct ivshmem_dev_info shorter = {.size = 16, .doorbell_offset = 77, .generation = 88};

	memset(longer.more, 0xee, sizeof(longer.more));
	CHECK_SYS(ioctl(fd, IVSHMEM_DEV_INFO, &longer));
	CHECK_EQ(longer.info.memory_size, info.memory_size);
	for (size_t i = 0; i < sizeof(longer.more); i++)
		CHECK_EQ(longer.more[i], 0);
	CHECK_SYS(ioctl(fd, IVSHMEM_DEV_INFO, &shorter));
	CHECK_EQ(shorter.memory_size, info.memory_size);
	CHECK_EQ(shorter.doorbell_offset, 77);
	CHECK_EQ(shorter.generation, 88);
	CHECK_SYS(close(fd));
}

/* For each command: sizes that are wrong, and a tail that this kernel does not know. */
TEST(sizes_of_arguments)
{
	static const unsigned long commands[] = {IVSHMEM_DEV_RING, IVSHMEM_DEV_SUBSCRIBE,
		IVSHMEM_DEV_UNSUBSCRIBE, IVSHMEM_DEV_RESTRICT, IVSHMEM_DEV_ON_CLOSE};
	int fd = open_node(O_RDWR);
	uint8_t bytes[5000] = {0};
	uint32_t size;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		size = 3;
		memcpy(bytes, &size, sizeof(size));
		CHECK_EQ(ioctl(fd, commands[i], bytes), -1);
		CHECK_EQ(errno, EINVAL);
		size = 4097;
		memcpy(bytes, &size, sizeof(size));
		CHECK_EQ(ioctl(fd, commands[i], bytes), -1);
		CHECK_EQ(errno, E2BIG);
		size = 200;
		memcpy(bytes, &size, sizeof(size));
		bytes[199] = 1;
		CHECK_EQ(ioctl(fd, commands[i], bytes), -1);
		CHECK_EQ(errno, E2BIG);
		bytes[199] = 0;
		CHECK_EQ(ioctl(fd, commands[i], NULL), -1);
		CHECK_EQ(errno, EFAULT);
	}
	CHECK_EQ(ioctl(fd, _IO(IVSHMEM_DEV_IOC_TYPE, 99), bytes), -1);
	CHECK_EQ(errno, ENOTTY);
	CHECK_SYS(close(fd));
}

/* ---- rings ---- */

TEST(a_ring_reaches_an_eventfd)
{
	int fd = open_node(O_RDWR), eventfd_0 = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
	struct ivshmem_dev_info info = need_vectors(fd, 1);

	CHECK_SYS(subscribe(fd, 0, 0, eventfd_0));
	for (unsigned i = 0; i < 100; i++) {
		CHECK_EQ(ring(fd, (unsigned)info.peer, 0), 1);
		CHECK_EQ(count_of(eventfd_0), 1);
	}
	CHECK_SYS(close(eventfd_0));
	CHECK_SYS(close(fd));
}

/* Each vector tells those who listen to it, and nobody else. */
TEST(every_vector_comes_by_itself)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = need_vectors(fd, 1);
	struct ivshmem_dev_event event;

	for (unsigned vector = 0; vector < info.vectors; vector++)
		CHECK_SYS(subscribe(fd, 0, vector, -1));
	for (unsigned vector = 0; vector < info.vectors; vector++) {
		CHECK_EQ(ring(fd, (unsigned)info.peer, vector), 1);
		CHECK_EQ(CHECK_SYS(read(fd, &event, sizeof(event))), sizeof(event));
		CHECK_EQ(event.vector, vector);
		CHECK_EQ(event.count, 1);
		CHECK(is_quiet(fd));
	}
	CHECK_SYS(close(fd));
}

TEST(a_batch_rings_all)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = need_vectors(fd, 4);
	struct ivshmem_dev_target targets[100];
	struct ivshmem_dev_ring batch = {
		.size = sizeof(batch), .targets = (uintptr_t)targets, .n = 100};
	struct ivshmem_dev_event event;
	unsigned seen = 0;

	/* All but the last four are for a peer that is not there. */
	for (unsigned i = 0; i < 100; i++)
		targets[i] =
			(struct ivshmem_dev_target){i < 96 ? 65000 : (unsigned)info.peer, i % 4};
	for (unsigned vector = 0; vector < 4; vector++)
		CHECK_SYS(subscribe(fd, 0, vector, -1));
	CHECK_EQ(ioctl(fd, IVSHMEM_DEV_RING, &batch), 100);
	while (seen != 0xf) {
		CHECK_EQ(CHECK_SYS(read(fd, &event, sizeof(event))), sizeof(event));
		CHECK_EQ(event.count, 1);
		CHECK_EQ(seen & 1u << event.vector, 0);
		seen |= 1u << event.vector;
	}
	/* It stops at the first that cannot be rung. */
	targets[40].peer = 65536;
	CHECK_EQ(ioctl(fd, IVSHMEM_DEV_RING, &batch), 40);
	targets[0].vector = 65536;
	CHECK_EQ(ioctl(fd, IVSHMEM_DEV_RING, &batch), -1);
	CHECK_EQ(errno, EINVAL);
	batch.n = IVSHMEM_DEV_RING_MOST + 1;
	CHECK_EQ(ioctl(fd, IVSHMEM_DEV_RING, &batch), -1);
	CHECK_EQ(errno, EINVAL);
	batch = (struct ivshmem_dev_ring){.size = sizeof(batch), .targets = 8, .n = 1};
	CHECK_EQ(ioctl(fd, IVSHMEM_DEV_RING, &batch), -1);
	CHECK_EQ(errno, EFAULT);
	batch = (struct ivshmem_dev_ring){.size = sizeof(batch), .flags = 1};
	CHECK_EQ(ioctl(fd, IVSHMEM_DEV_RING, &batch), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_SYS(close(fd));
}

TEST(who_may_only_read_cannot_ring)
{
	int fd = open_node(O_RDONLY);

	CHECK_EQ(ring(fd, 0, 0), -1);
	CHECK_EQ(errno, EACCES);
	CHECK_EQ(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED, true);
	CHECK_EQ(errno, EACCES);
	unmap(map(fd, PAGE, PROT_READ), PAGE);
	CHECK_SYS(close(fd));
}

/* Nobody had the vector, so it was masked: what came meanwhile comes now. */
TEST(rings_wait_for_somebody_who_listens)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = need_vectors(fd, 1);
	struct ivshmem_dev_event event;

	CHECK_EQ(ring(fd, (unsigned)info.peer, 0), 1);
	CHECK_SYS(subscribe(fd, 0, 0, -1));
	CHECK_EQ(CHECK_SYS(read(fd, &event, sizeof(event))), sizeof(event));
	CHECK_EQ(event.count, 1);
	CHECK_SYS(close(fd));
}

/* ---- who listens ---- */

TEST(several_may_have_one_vector)
{
	int one = open_node(O_RDWR), two = open_node(O_RDWR);
	int first = CHECK_SYS(eventfd(0, EFD_CLOEXEC)), second = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	need_vectors(one, 1);
	CHECK_SYS(subscribe(one, 0, 0, first));
	CHECK_SYS(subscribe(one, 0, 0, second));
	CHECK_SYS(subscribe(two, 0, 0, -1));
	CHECK_EQ(subscribe(one, 0, 0, first), -1);
	CHECK_EQ(errno, EEXIST);
	CHECK_EQ(subscribe(two, 0, 0, -1), -1);
	CHECK_EQ(errno, EEXIST);
	ring_self(one, 0);
	CHECK_EQ(count_of(first), 1);
	CHECK_EQ(count_of(second), 1);
	wait_for(two);
	CHECK_SYS(unsubscribe(one, 0, 0, first));
	CHECK_EQ(unsubscribe(one, 0, 0, first), -1);
	CHECK_EQ(errno, ENOENT);
	ring_self(one, 0);
	CHECK_EQ(count_of(second), 1);
	CHECK(is_quiet(first));
	CHECK_SYS(unsubscribe(one, IVSHMEM_DEV_ALL, 0, 0));
	CHECK_EQ(unsubscribe(one, IVSHMEM_DEV_ALL, 0, 0), -1);
	CHECK_EQ(errno, ENOENT);
	for (int *fd = (int[]){one, two, first, second, -1}; *fd != -1; fd++)
		CHECK_SYS(close(*fd));
}

TEST(one_may_have_a_vector_alone)
{
	int one = open_node(O_RDWR), two = open_node(O_RDWR);

	need_vectors(one, 1);
	CHECK_SYS(subscribe(one, IVSHMEM_DEV_EXCLUSIVE, 0, -1));
	CHECK_EQ(subscribe(two, 0, 0, -1), -1);
	CHECK_EQ(errno, EBUSY);
	CHECK_EQ(subscribe(two, IVSHMEM_DEV_EXCLUSIVE, 0, -1), -1);
	CHECK_EQ(errno, EBUSY);
	/* It is free as soon as the file is closed. */
	CHECK_SYS(close(one));
	CHECK_SYS(subscribe(two, 0, 0, -1));
	one = open_node(O_RDWR);
	CHECK_EQ(subscribe(one, IVSHMEM_DEV_EXCLUSIVE, 0, -1), -1);
	CHECK_EQ(errno, EBUSY);
	CHECK_SYS(close(one));
	CHECK_SYS(close(two));
}

TEST(subscriptions_that_are_wrong)
{
	int fd = open_node(O_RDWR), file = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	struct ivshmem_dev_info info = info_of(fd);

	CHECK_EQ(subscribe(fd, 0, info.vectors, -1), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(subscribe(fd, 0, UINT32_MAX, -1), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(subscribe(fd, 1u << 31, 0, -1), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(subscribe(fd, 0, 0, -2), -1);
	CHECK_EQ(errno, EBADF);
	CHECK_EQ(subscribe(fd, 0, 0, file), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(unsubscribe(fd, 0, 0, -1), -1);
	CHECK_EQ(errno, ENOENT);
	CHECK_SYS(close(file));
	CHECK_SYS(close(fd));
}

TEST(reading_without_events)
{
	int fd = open_node(O_RDONLY | O_NONBLOCK);
	struct ivshmem_dev_event event;

	CHECK_EQ(read(fd, &event, sizeof(event)), -1);
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(read(fd, &event, sizeof(event) - 1), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK(is_quiet(fd));
	CHECK_SYS(close(fd));
}

/* Returns when fd has been told of the vector, too: those who listen are told in their order. */
static void
ring_until_heard(int fd, unsigned vector)
{
	int heard = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	CHECK_SYS(subscribe(fd, 0, vector, heard));
	ring_self(fd, vector);
	CHECK_EQ(count_of(heard), 1);
	CHECK_SYS(close(heard));
}

/* The buffer is nowhere, or ends within the first event, or within the second. */
TEST(a_read_that_fails_loses_nothing)
{
	int fd = open_node(O_RDWR | O_NONBLOCK);
	struct ivshmem_dev_info info = need_vectors(fd, 1);
	unsigned vectors = info.vectors < 2 ? info.vectors : 2;
	char *pages =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ivshmem_dev_event events[3];

	CHECK(pages != MAP_FAILED);
	CHECK_SYS(munmap(pages + PAGE, PAGE));
	for (unsigned vector = 0; vector < vectors; vector++)
		CHECK_SYS(subscribe(fd, 0, vector, -1));
	for (unsigned i = 0; i < 2 * vectors; i++)
		ring_until_heard(fd, i % vectors);
	CHECK_EQ(read(fd, pages + PAGE, sizeof(events)), -1);
	CHECK_EQ(errno, EFAULT);
	for (unsigned i = 0; i < vectors; i++) {
		CHECK_EQ(read(fd, pages + PAGE - i * sizeof(events[0]) - 8, sizeof(events)), -1);
		CHECK_EQ(errno, EFAULT);
	}
	CHECK_EQ(events_of(fd, 0), POLLIN);
	CHECK_EQ(CHECK_SYS(read(fd, events, sizeof(events))), vectors * sizeof(events[0]));
	for (unsigned i = 0; i < vectors; i++) {
		CHECK_EQ(events[i].vector, i);
		CHECK_EQ(events[i].count, 2);
	}
	CHECK(is_quiet(fd));
	CHECK_SYS(munmap(pages, PAGE));
	CHECK_SYS(close(fd));
}

TEST(a_short_read_leaves_the_rest)
{
	int fd = open_node(O_RDWR | O_NONBLOCK);
	struct ivshmem_dev_event event;

	need_vectors(fd, 4);
	for (unsigned vector = 0; vector < 4; vector++) {
		CHECK_SYS(subscribe(fd, 0, vector, -1));
		ring_until_heard(fd, vector);
	}
	for (unsigned vector = 0; vector < 4; vector++) {
		char buffer[2 * sizeof(event) - 1];

		CHECK_EQ(CHECK_SYS(read(fd, buffer, sizeof(buffer))), sizeof(event));
		memcpy(&event, buffer, sizeof(event));
		CHECK_EQ(event.vector, vector);
		CHECK_EQ(event.count, 1);
	}
	CHECK(is_quiet(fd));
	CHECK_SYS(close(fd));
}

static void
alarm_came(int signal)
{
	(void)signal;
}

TEST(a_signal_ends_a_read_and_takes_nothing)
{
	const struct itimerval often = {{0, 10000}, {0, 10000}}, never = {0};
	struct sigaction action = {.sa_handler = alarm_came};
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_event event;

	need_vectors(fd, 1);
	CHECK_SYS(subscribe(fd, 0, 0, -1));
	CHECK_SYS(sigaction(SIGALRM, &action, NULL));
	CHECK_SYS(setitimer(ITIMER_REAL, &often, NULL));
	CHECK_EQ(read(fd, &event, sizeof(event)), -1);
	CHECK_EQ(errno, EINTR);
	CHECK_SYS(setitimer(ITIMER_REAL, &never, NULL));
	ring_self(fd, 0);
	CHECK_EQ(CHECK_SYS(read(fd, &event, sizeof(event))), sizeof(event));
	CHECK_EQ(event.count, 1);
	CHECK_SYS(close(fd));
}

/* ---- memory ---- */

TEST(memory_is_shared_and_write_back)
{
	int one = open_node(O_RDWR), two = open_node(O_RDWR);
	size_t size = (size_t)info_of(one).memory_size;
	volatile uint32_t *a = map(one, size, PROT_READ | PROT_WRITE);
	volatile uint32_t *b = map(two, size, PROT_READ);

	for (size_t at = 0; at < size / 4; at += PAGE / 4)
		a[at] = (uint32_t)at ^ 0x5a5a5a5a;
	for (size_t at = 0; at < size / 4; at += PAGE / 4)
		CHECK_EQ(b[at], (uint32_t)at ^ 0x5a5a5a5a);
	CHECK_EQ(info_of(one).cache, IVSHMEM_DEV_CACHE_WRITE_BACK);
	unmap(a, size);
	unmap(b, size);
	CHECK_SYS(close(one));
	CHECK_SYS(close(two));
}

TEST(memory_from_an_offset)
{
	int fd = open_node(O_RDWR);
	size_t size = (size_t)info_of(fd).memory_size;
	volatile uint32_t *all = map(fd, size, PROT_READ | PROT_WRITE);
	volatile uint32_t *last =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(size - PAGE));

	CHECK(last != MAP_FAILED);
	last[3] = 0x1234567;
	CHECK_EQ(all[(size - PAGE) / 4 + 3], 0x1234567);
	unmap(all, size);
	unmap(last, PAGE);
	CHECK_SYS(close(fd));
}

TEST(mappings_that_are_wrong)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = info_of(fd);
	off_t size = (off_t)info.memory_size;
	off_t words = info.doorbell_size != 0 ? (off_t)info.doorbell_offset : (off_t)1 << 42;
	const struct {
		const char *name;
		int flags;
		size_t length;
		off_t offset;
	} rows[] = {
		{"private", MAP_PRIVATE, PAGE, 0},
		{"too long", MAP_SHARED, (size_t)size + PAGE, 0},
		{"beyond the end", MAP_SHARED, PAGE, size},
		{"across the end", MAP_SHARED, 2 * PAGE, size - PAGE},
		{"before the words", MAP_SHARED, PAGE, words - PAGE},
		{"beyond the words", MAP_SHARED, PAGE,
			words + (off_t)((info.doorbell_size + PAGE - 1) / PAGE * PAGE)},
		{"far away", MAP_SHARED, PAGE, INT64_MAX - 2 * PAGE + 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (mmap(NULL, rows[i].length, PROT_READ | PROT_WRITE, rows[i].flags, fd,
			    rows[i].offset) != MAP_FAILED)
			FAIL("%s: was mapped", rows[i].name);
		if (errno != EINVAL && errno != EOVERFLOW)
			FAIL("%s: %s", rows[i].name, strerror(errno));
	}
	CHECK_SYS(close(fd));
}

/* A child has the mapping, too; and memory is nothing that the kernel can pin. */
TEST(mappings_are_inherited)
{
	int fd = open_node(O_RDWR);
	volatile uint32_t *memory = map(fd, PAGE, PROT_READ | PROT_WRITE);
	pid_t child;

	memory[0] = 1;
	child = test_fork();
	if (child == 0) {
		CHECK_EQ(memory[0], 1);
		memory[0] = 2;
		_exit(0);
	}
	test_join(child);
	CHECK_EQ(memory[0], 2);
	unmap(memory, PAGE);
	CHECK_SYS(close(fd));
}

/* Each page shows its place in the memory, whatever becomes of the mapping, before and after its first use. */
TEST(mappings_are_moved_and_split)
{
	const int advice[] = {MADV_DONTNEED, MADV_REMOVE, MADV_PAGEOUT, MADV_DODUMP, MADV_DOFORK};
	int fd = open_node(O_RDWR);
	volatile uint32_t *all = map(fd, 4 * PAGE, PROT_READ | PROT_WRITE), *part;
	void *area = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	void *place = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(area != MAP_FAILED && place != MAP_FAILED);
	for (unsigned page = 0; page < 4; page++)
		all[page * PAGE / 4] = page + 10;
	CHECK(mremap(area, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(((volatile uint32_t *)area)[0], 11);
	part = mremap(area, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	CHECK(part == place);
	CHECK_SYS(mprotect((char *)place + PAGE, PAGE, PROT_NONE));
	CHECK_SYS(mprotect(place, 3 * PAGE, PROT_READ | PROT_WRITE));
	CHECK_EQ(part[2 * PAGE / 4], 13);
	unmap(part, PAGE);
	part[PAGE / 4]++;
	CHECK_EQ(all[2 * PAGE / 4], 13);
	/* What would take pages from it, or make copies of them, is refused. */
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
		CHECK_EQ(madvise((void *)(uintptr_t)all, PAGE, advice[i]), -1);
	for (unsigned page = 0; page < 4; page++)
		CHECK_EQ(all[page * PAGE / 4], page == 2 ? 13 : page + 10);
	CHECK_EQ(info_of(fd).cache, IVSHMEM_DEV_CACHE_WRITE_BACK);
	unmap(&part[PAGE / 4], 2 * PAGE);
	unmap(all, 4 * PAGE);
	CHECK_SYS(close(fd));
}

TEST(words_ring)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = need_vectors(fd, 1);
	volatile uint32_t *words;
	struct ivshmem_dev_event event;
	size_t size;

	if ((info.features & IVSHMEM_DEV_FEATURE_MAP_WORDS) == 0)
		SKIP("the device has no doorbell words that can be mapped");
	size = (size_t)info.doorbell_size;
	words = mmap(NULL, size, PROT_WRITE, MAP_SHARED, fd, (off_t)info.doorbell_offset);
	CHECK(words != MAP_FAILED);
	for (unsigned vector = 0; vector < info.vectors; vector++) {
		CHECK_SYS(subscribe(fd, 0, vector, -1));
		words[((size_t)info.peer << info.doorbell_shift) + vector] = 1;
		CHECK_EQ(CHECK_SYS(read(fd, &event, sizeof(event))), sizeof(event));
		CHECK_EQ(event.vector, vector);
	}
	unmap(words, size);
	CHECK_SYS(close(fd));
}

/* ---- restrictions ---- */

static int
restrict_file(int fd, struct ivshmem_dev_restriction wish)
{
	wish.size = sizeof(wish);
	return ioctl(fd, IVSHMEM_DEV_RESTRICT, &wish);
}

TEST(no_ring)
{
	int fd = open_node(O_RDWR), other = open_node(O_RDWR);
	struct ivshmem_dev_info info = info_of(other);

	CHECK_SYS(
		restrict_file(fd, (struct ivshmem_dev_restriction){.flags = IVSHMEM_DEV_NO_RING}));
	CHECK_EQ(ring(fd, 0, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(info_of(fd).features & IVSHMEM_DEV_FEATURE_MAP_WORDS, 0);
	if (info.doorbell_size != 0) {
		CHECK(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, (off_t)info.doorbell_offset) ==
			MAP_FAILED);
		CHECK_EQ(errno, EPERM);
	}
	/* It holds for the open file: a copy of the descriptor, a descriptor sent away; not for others. */
	CHECK_EQ(ring(CHECK_SYS(dup(fd)), 0, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(ring(other, 65000, 0), 1);
	CHECK_SYS(close_range(3, 100, 0));
}

TEST(read_only_memory)
{
	int fd = open_node(O_RDWR);
	volatile uint32_t *before = map(fd, PAGE, PROT_READ | PROT_WRITE), *after;

	CHECK_SYS(restrict_file(
		fd, (struct ivshmem_dev_restriction){.flags = IVSHMEM_DEV_READ_ONLY}));
	CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK_EQ(errno, EPERM);
	after = map(fd, PAGE, PROT_READ);
	CHECK_EQ(mprotect((void *)(uintptr_t)after, PAGE, PROT_READ | PROT_WRITE), -1);
	CHECK_EQ(errno, EACCES);
	before[5] = 55; /* what was mapped stays */
	CHECK_EQ(after[5], 55);
	CHECK_SYS(restrict_file(fd, (struct ivshmem_dev_restriction){.flags = IVSHMEM_DEV_NO_MAP}));
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK_EQ(errno, EPERM);
	unmap(before, PAGE);
	unmap(after, PAGE);
	CHECK_SYS(close(fd));
}

TEST(only_some_peers_and_vectors)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = info_of(fd);
	uint64_t some[] = {1u << 5 | 1u << 7, 1u << 1}, fewer[] = {1u << 7};
	uint64_t first = 1;
	struct ivshmem_dev_restriction wish = {.peers = (uintptr_t)some, .peers_words = 2};

	CHECK_SYS(restrict_file(fd, wish));
	CHECK_EQ(ring(fd, 5, 0), 1);
	CHECK_EQ(ring(fd, 7, 9), 1);
	CHECK_EQ(ring(fd, 65, 0), 1);
	CHECK_EQ(ring(fd, 6, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(ring(fd, 65535, 0), -1);
	CHECK_EQ(errno, EPERM);
	wish = (struct ivshmem_dev_restriction){.peers = (uintptr_t)fewer,
		.peers_words = 1,
		.ring_vectors = (uintptr_t)&first,
		.ring_vectors_words = 1};
	CHECK_SYS(restrict_file(fd, wish));
	CHECK_EQ(ring(fd, 7, 0), 1);
	CHECK_EQ(ring(fd, 7, 1), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(ring(fd, 5, 0), -1);
	CHECK_EQ(errno, EPERM);
	/* More than before is not given. */
	wish = (struct ivshmem_dev_restriction){.peers = (uintptr_t)some, .peers_words = 2};
	CHECK_SYS(restrict_file(fd, wish));
	CHECK_EQ(ring(fd, 5, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(info_of(fd).features & IVSHMEM_DEV_FEATURE_MAP_WORDS, 0);

	if (info.vectors >= 2) {
		CHECK_SYS(subscribe(fd, 0, 1, -1));
		wish = (struct ivshmem_dev_restriction){
			.vectors = (uintptr_t)&first, .vectors_words = 1};
		CHECK_EQ(restrict_file(fd, wish), -1);
		CHECK_EQ(errno, EBUSY);
		CHECK_SYS(unsubscribe(fd, 0, 1, -1));
		CHECK_SYS(restrict_file(fd, wish));
		CHECK_EQ(subscribe(fd, 0, 1, -1), -1);
		CHECK_EQ(errno, EPERM);
		CHECK_SYS(subscribe(fd, 0, 0, -1));
	}
	CHECK_SYS(close(fd));
}

/* /proc/self/fd is a way to the node, not to the open file: it is open to whom the node is. */
TEST(a_restricted_file_is_opened_again)
{
	int fd = open_node(O_RDWR);
	char path[32];
	pid_t child;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK_SYS(
		restrict_file(fd, (struct ivshmem_dev_restriction){.flags = IVSHMEM_DEV_NO_RING}));
	child = test_fork();
	if (child == 0) {
		test_drop_root();
		CHECK_EQ(open(path, O_RDWR | O_CLOEXEC), -1);
		CHECK_EQ(errno, EACCES);
		CHECK_EQ(open(path, O_RDONLY | O_CLOEXEC), -1);
		CHECK_EQ(errno, EACCES);
		CHECK_EQ(ring(fd, 65000, 0), -1);
		CHECK_EQ(errno, EPERM);
		unmap(map(fd, PAGE, PROT_READ | PROT_WRITE), PAGE);
		_exit(0);
	}
	test_join(child);
	CHECK_EQ(ring(CHECK_SYS(open(path, O_RDWR | O_CLOEXEC)), 65000, 0), 1);
	CHECK_SYS(close_range(3, 100, 0));
}

TEST(restrictions_that_are_wrong)
{
	int fd = open_node(O_RDWR);
	uint64_t word = 1;
	const struct {
		struct ivshmem_dev_restriction wish;
		int error;
	} rows[] = {
		{{.flags = 8}, EINVAL},
		{{.reserved = 1}, EINVAL},
		{{.peers = (uintptr_t)&word, .peers_words = 1025}, EINVAL},
		{{.peers = (uintptr_t)&word}, EINVAL},
		{{.vectors_words = 1}, EFAULT},
		{{.ring_vectors = 8, .ring_vectors_words = 1}, EFAULT},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK_EQ(restrict_file(fd, rows[i].wish), -1);
		CHECK_EQ(errno, rows[i].error);
	}
	/* None of them did anything. */
	CHECK_EQ(ring(fd, 65000, 0), 1);
	CHECK_SYS(close(fd));
}

/* ---- what happens when a file is closed ---- */

static int
on_close(int fd, const struct ivshmem_dev_store *stores, unsigned n_stores,
	const struct ivshmem_dev_target *targets, unsigned n_targets)
{
	struct ivshmem_dev_on_close list = {.size = sizeof(list),
		.stores = (uintptr_t)stores,
		.targets = (uintptr_t)targets,
		.n_stores = n_stores,
		.n_targets = n_targets};

	return ioctl(fd, IVSHMEM_DEV_ON_CLOSE, &list);
}

/* A process that dies tells of it in the memory, and rings; its vectors are free by then. */
TEST(a_process_that_dies_leaves_word)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = need_vectors(fd, 2);
	volatile uint32_t *memory = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE);
	const struct ivshmem_dev_store stores[] = {{.offset = 4, .value = 0xdead, .width = 4},
		{.offset = PAGE + 8, .value = 0x1122334455667788, .width = 8}};
	const struct ivshmem_dev_target target = {(unsigned)info.peer, 0};
	struct ivshmem_dev_event event;
	int ready = CHECK_SYS(eventfd(0, EFD_CLOEXEC)), status;
	pid_t child;

	memory[1] = memory[2] = memory[PAGE / 4 + 2] = memory[PAGE / 4 + 3] = 0;
	CHECK_SYS(subscribe(fd, 0, 0, -1));
	child = test_fork();
	if (child == 0) {
		int own = open_node(O_RDWR);

		map(own, PAGE, PROT_READ | PROT_WRITE);
		CHECK_SYS(subscribe(own, IVSHMEM_DEV_EXCLUSIVE, 1, -1));
		CHECK_SYS(on_close(own, stores, 2, &target, 1));
		CHECK_SYS(eventfd_write(ready, 1));
		pause();
	}
	count_of(ready);
	CHECK_EQ(subscribe(fd, 0, 1, -1), -1);
	CHECK_EQ(errno, EBUSY);
	CHECK_EQ(memory[1], 0);
	CHECK(is_quiet(fd));
	CHECK_SYS(kill(child, SIGKILL));
	CHECK_EQ(CHECK_SYS(read(fd, &event, sizeof(event))), sizeof(event));
	CHECK_EQ(event.vector, 0);
	CHECK_EQ(memory[1], 0xdead);
	CHECK_EQ(memory[2], 0);
	CHECK_EQ(memory[PAGE / 4 + 2], 0x55667788);
	CHECK_EQ(memory[PAGE / 4 + 3], 0x11223344);
	CHECK_SYS(subscribe(fd, 0, 1, -1));
	CHECK_EQ(CHECK_SYS(waitpid(child, &status, 0)), child);
	unmap(memory, 2 * PAGE);
	CHECK_SYS(close(ready));
	CHECK_SYS(close(fd));
}

TEST(a_last_word_can_be_taken_back)
{
	int fd = open_node(O_RDWR), other = open_node(O_RDWR);
	volatile uint32_t *memory = map(fd, PAGE, PROT_READ | PROT_WRITE);
	const struct ivshmem_dev_store one = {.offset = 0, .value = 1, .width = 4};
	const struct ivshmem_dev_store two = {.offset = 0, .value = 2, .width = 4};

	memory[0] = 0;
	CHECK_SYS(on_close(other, &one, 1, NULL, 0));
	CHECK_SYS(on_close(other, NULL, 0, NULL, 0));
	CHECK_SYS(close(other));
	CHECK_EQ(memory[0], 0);
	other = open_node(O_RDWR);
	CHECK_SYS(on_close(other, &one, 1, NULL, 0));
	CHECK_SYS(on_close(other, &two, 1, NULL, 0));
	CHECK_SYS(close(other));
	CHECK_EQ(memory[0], 2);
	unmap(memory, PAGE);
	CHECK_SYS(close(fd));
}

/* The file ends with its last descriptor and its last mapping. */
TEST(a_mapping_keeps_the_last_word_back)
{
	int fd = open_node(O_RDWR), other = open_node(O_RDWR);
	volatile uint32_t *memory = map(fd, PAGE, PROT_READ | PROT_WRITE);
	volatile uint32_t *mapping = map(other, PAGE, PROT_READ);
	const struct ivshmem_dev_store store = {.offset = 0, .value = 3, .width = 4};

	memory[0] = 0;
	CHECK_SYS(on_close(other, &store, 1, NULL, 0));
	CHECK_SYS(close(other));
	CHECK_EQ(memory[0], 0);
	unmap(mapping, PAGE);
	CHECK_EQ(memory[0], 3);
	unmap(memory, PAGE);
	CHECK_SYS(close(fd));
}

TEST(last_words_that_are_wrong)
{
	int fd = open_node(O_RDWR), reader = open_node(O_RDONLY);
	uint64_t size = info_of(fd).memory_size;
	const struct ivshmem_dev_store stores[] = {
		{.offset = size, .width = 4},
		{.offset = 2, .width = 4},
		{.offset = 4, .width = 8},
		{.offset = 0, .width = 2},
		{.offset = 0, .width = 4, .reserved = 1},
		{.offset = 0, .width = 4, .value = UINT64_C(1) << 32},
		{.offset = UINT64_MAX - 7, .width = 8},
	};
	const struct ivshmem_dev_store good = {.offset = size - 8, .width = 8};
	const struct ivshmem_dev_target targets[] = {{65536, 0}, {0, 65536}};

	for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
		CHECK_EQ(on_close(fd, &stores[i], 1, NULL, 0), -1);
		CHECK_EQ(errno, EINVAL);
	}
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		CHECK_EQ(on_close(fd, NULL, 0, &targets[i], 1), -1);
		CHECK_EQ(errno, EINVAL);
	}
	CHECK_EQ(on_close(fd, NULL, 1, NULL, 0), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(on_close(fd, &good, IVSHMEM_DEV_ON_CLOSE_MOST + 1, NULL, 0), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(on_close(reader, &good, 1, NULL, 0), -1);
	CHECK_EQ(errno, EACCES);
	CHECK_SYS(on_close(fd, &good, 1, NULL, 0));
	CHECK_SYS(
		restrict_file(fd, (struct ivshmem_dev_restriction){.flags = IVSHMEM_DEV_NO_RING}));
	CHECK_EQ(on_close(fd, NULL, 0, NULL, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_SYS(close(reader));
	CHECK_SYS(close(fd));
}

/* ---- sysfs ---- */

/* The text ends with a zero. */
static void
read_attribute(const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/ivshmem/ivshmem0/%s", name);
	fd = CHECK_SYS(open(path, O_RDONLY | O_CLOEXEC));
	length = CHECK_SYS(read(fd, text, size - 1));

	CHECK(length < (ssize_t)size - 1); /* that was all */
	text[length] = '\0';
	CHECK_SYS(close(fd));
}

TEST(attributes_say_what_the_node_says)
{
	int fd = open_node(O_RDWR);
	volatile uint32_t *memory = map(fd, PAGE, PROT_READ);
	struct ivshmem_dev_info info = info_of(fd);
	char text[64], expected[64];
	const struct {
		const char *name;
		long long value;
	} rows[] = {
		{"peer_id", info.peer},
		{"vectors", info.vectors},
		{"size", (long long)info.memory_size},
		{"revision", info.revision},
		{"generation", (long long)info.generation},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(expected, sizeof(expected), "%lld\n", rows[i].value);
		read_attribute(rows[i].name, text, sizeof(text));
		CHECK_STR(text, expected);
	}
	(void)memory[0];
	read_attribute("cache", text, sizeof(text));
	CHECK_STR(text, "write-back\n");
	unmap(memory, PAGE);
	CHECK_SYS(close(fd));
}

TEST(each_holder_has_a_line)
{
	char text[2 * PAGE], expected[64];
	int one, two, with_vectors = 0;

	read_attribute("holders", text, sizeof(text));
	CHECK_STR(text, "");
	one = open_node(O_RDONLY);
	two = open_node(O_RDONLY);
	if (info_of(two).vectors > 1) {
		CHECK_SYS(subscribe(two, 0, 0, -1));
		CHECK_SYS(subscribe(two, IVSHMEM_DEV_EXCLUSIVE, 1, -1));
		with_vectors = 1;
	}
	snprintf(expected, sizeof(expected), "%d\n%d%s\n", getpid(), getpid(),
		with_vectors ? " 0 1!" : "");
	read_attribute("holders", text, sizeof(text));
	CHECK_STR(text, expected);
	CHECK_SYS(close(one));
	CHECK_SYS(close(two));
}

/* The node is opened until the lines no longer fit into a page. They are whole up to the dots. */
TEST(holders_that_do_not_fit_are_dots)
{
	static const char dots[] = "...\n";
	struct rlimit limit;
	char text[2 * PAGE], line[16];
	int first = open_node(O_RDONLY), last = first;
	size_t length, lines;

	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	length = (size_t)snprintf(line, sizeof(line), "%d\n", getpid());
	lines = PAGE / length;
	while (last - first < (int)lines - 2)
		last = open_node(O_RDONLY);
	read_attribute("holders", text, sizeof(text));
	CHECK_EQ(strlen(text), (lines - 1) * length);
	CHECK(strstr(text, dots) == NULL);

	last = open_node(O_RDONLY);
	last = open_node(O_RDONLY);
	read_attribute("holders", text, sizeof(text));
	CHECK(strlen(text) < PAGE);
	CHECK_STR(strstr(text, dots), dots);
	for (const char *at = text; strcmp(at, dots) != 0; at += length)
		CHECK_MEM(at, line, length);
	CHECK_SYS(close_range((unsigned)first, (unsigned)last, 0));
}
