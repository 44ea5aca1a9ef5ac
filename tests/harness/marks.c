/* SPDX-License-Identifier: BSD-2-Clause */
#include <marks.h>

#include <test.h>

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

void
fdpass_pair(int pair[2], int flags)
{
	CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, pair));
}

int
mark_new(uint64_t mark)
{
	int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

	CHECK(mark > 0);
	CHECK_EQ(write(fd, &mark, sizeof(mark)), sizeof(mark));
	return fd;
}

uint64_t
mark_of(int fd)
{
	uint64_t mark;

	CHECK_EQ(CHECK_SYS(read(fd, &mark, sizeof(mark))), sizeof(mark));
	CHECK_EQ(CHECK_SYS(write(fd, &mark, sizeof(mark))), sizeof(mark));
	return mark;
}

void
mark_check(int fd, uint64_t mark)
{
	CHECK_EQ(mark_of(fd), mark);
	close(fd);
}
