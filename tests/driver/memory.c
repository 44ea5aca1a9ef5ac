/* SPDX-License-Identifier: BSD-2-Clause */

/* Mappings of the memory and of the doorbell words. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

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
