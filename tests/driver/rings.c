/* SPDX-License-Identifier: BSD-2-Clause */

/* Rings, from the doorbell to who listens. */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

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
