/* SPDX-License-Identifier: BSD-2-Clause */

/* What happens when a file is closed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

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
