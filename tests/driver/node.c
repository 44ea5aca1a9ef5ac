/* SPDX-License-Identifier: BSD-2-Clause */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <test.h>

int
open_node(int flags)
{
	return CHECK_SYS(open(NODE, flags | O_CLOEXEC));
}

struct ivshmem_dev_info
info_of(int fd)
{
	struct ivshmem_dev_info info = {.size = sizeof(info)};

	CHECK_SYS(ioctl(fd, IVSHMEM_DEV_INFO, &info));
	return info;
}

/* A test of interrupts needs a device that has some. */
struct ivshmem_dev_info
need_vectors(int fd, unsigned vectors)
{
	struct ivshmem_dev_info info = info_of(fd);

	if (info.vectors < vectors)
		SKIP("the device has %u vectors, and this needs %u", info.vectors, vectors);
	return info;
}

int
ring(int fd, unsigned peer, unsigned vector)
{
	struct ivshmem_dev_target target = {.peer = peer, .vector = vector};
	struct ivshmem_dev_ring ring = {
		.size = sizeof(ring), .targets = (uintptr_t)&target, .n = 1};

	return ioctl(fd, IVSHMEM_DEV_RING, &ring);
}

void
ring_self(int fd, unsigned vector)
{
	CHECK_EQ(ring(fd, (unsigned)info_of(fd).peer, vector), 1);
}

int
change(int fd, unsigned long command, unsigned flags, unsigned vector, int eventfd)
{
	struct ivshmem_dev_subscription subscription = {
		.size = sizeof(subscription), .flags = flags, .vector = vector, .eventfd = eventfd};

	return ioctl(fd, command, &subscription);
}

int
subscribe(int fd, unsigned flags, unsigned vector, int eventfd)
{
	return change(fd, IVSHMEM_DEV_SUBSCRIBE, flags, vector, eventfd);
}

int
unsubscribe(int fd, unsigned flags, unsigned vector, int eventfd)
{
	return change(fd, IVSHMEM_DEV_UNSUBSCRIBE, flags, vector, eventfd);
}

int
restrict_file(int fd, struct ivshmem_dev_restriction wish)
{
	wish.size = sizeof(wish);
	return ioctl(fd, IVSHMEM_DEV_RESTRICT, &wish);
}

short
events_of(int fd, int timeout_ms)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};

	CHECK_SYS(poll(&entry, 1, timeout_ms));
	return entry.revents;
}

void
wait_for(int fd)
{
	CHECK_EQ(events_of(fd, (int)test_patience_ms(10000)) & POLLIN, POLLIN);
}

uint64_t
count_of(int eventfd)
{
	uint64_t count;

	wait_for(eventfd);
	CHECK_EQ(CHECK_SYS(read(eventfd, &count, sizeof(count))), sizeof(count));
	return count;
}

bool
is_quiet(int fd)
{
	return events_of(fd, 0) == 0;
}

volatile uint32_t *
map(int fd, size_t length, int protection)
{
	void *memory = mmap(NULL, length, protection, MAP_SHARED, fd, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

void
unmap(volatile uint32_t *memory, size_t length)
{
	CHECK_SYS(munmap((void *)(uintptr_t)memory, length));
}

const char *
folder(void)
{
	const char *path = getenv("PCI");

	CHECK(path != NULL);
	return path;
}

int
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written;
	int error;

	if (fd < 0)
		return -1;
	written = write(fd, text, strlen(text));
	error = errno;
	CHECK_SYS(close(fd));
	errno = error;
	return written < 0 ? -1 : 0;
}

int
put_in_folder(const char *file)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder(), file);
	return put(path, "1");
}

int
put_device(const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/ivshmem/%s", file);
	return put(path, strrchr(folder(), '/') + 1);
}

void
bind_device(void)
{
	CHECK_SYS(put_device("bind"));
}

void
unbind_device(void)
{
	CHECK_SYS(put_device("unbind"));
}
