/* SPDX-License-Identifier: BSD-2-Clause */

/* What a file may do that was restricted. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

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
