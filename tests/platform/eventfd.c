/* SPDX-License-Identifier: BSD-2-Clause */

/* Eventfds that are shared with processes which mean harm: W6. */

#include <fdpass.h>
#include <marks.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FULL (UINT64_MAX - 1)

static void
add(int fd, uint64_t value)
{
	CHECK_EQ(CHECK_SYS(write(fd, &value, sizeof(value))), sizeof(value));
}

static short
poll_now(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN | POLLOUT};

	CHECK_SYS(poll(&poll_fd, 1, 0));
	return poll_fd.revents;
}

/* A read that never waits, whatever the descriptor's mode. */
static ssize_t
read_now(int fd, uint64_t *ret_count)
{
	struct iovec iov = {.iov_base = ret_count, .iov_len = sizeof(*ret_count)};

	return preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
}

TEST(full_eventfd_refuses_with_eagain_and_the_largest_value_is_invalid)
{
	_test_close_ int fd = CHECK_SYS(eventfd(0, EFD_NONBLOCK));
	uint64_t one = 1, largest = UINT64_MAX, count;

	CHECK_ERRNO(write(fd, &largest, sizeof(largest)), EINVAL);
	add(fd, FULL);
	CHECK_ERRNO(write(fd, &one, sizeof(one)), EAGAIN);
	CHECK_EQ(CHECK_SYS(read(fd, &count, sizeof(count))), sizeof(count));
	CHECK_EQ(count, FULL);
}

TEST(poll_tells_whether_a_write_would_block)
{
	_test_close_ int fd = CHECK_SYS(eventfd(0, 0));

	CHECK_EQ(poll_now(fd), POLLOUT);
	add(fd, 1);
	CHECK_EQ(poll_now(fd), POLLIN | POLLOUT);
	add(fd, FULL - 1);
	CHECK_EQ(poll_now(fd), POLLIN);
}

TEST(blocking_mode_belongs_to_all_holders)
{
	uint8_t byte = 0;
	_test_close_pair_ int pair[2];
	_test_close_ int ours = CHECK_SYS(eventfd(0, EFD_NONBLOCK));
	int theirs[1];
	size_t n_fds;

	fdpass_pair(pair, 0);
	CHECK_EQ(fdpass_send(pair[0], &byte, 1, &ours, 1), 1);
	CHECK_EQ(fdpass_recv(pair[1], &byte, 1, theirs, 1, &n_fds, NULL), 1);
	CHECK(fcntl(ours, F_GETFL) & O_NONBLOCK);
	CHECK_SYS(fcntl(theirs[0], F_SETFL, 0));
	CHECK(!(fcntl(ours, F_GETFL) & O_NONBLOCK));
	close(theirs[0]);
}

/* Whether `pid` sleeps inside write(). */
static bool
is_in_write(pid_t pid)
{
	char path[64], line[256] = "";
	FILE *file;
	int number;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	file = fopen(path, "re");
	if (!file)
		SKIP("no /proc/PID/syscall here");
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	/* "running", or the number and the arguments of the call that it sleeps in. */
	return sscanf(line, "%d", &number) == 1 && number == SYS_write;
}

TEST(hostile_holder_makes_a_plain_write_hang)
{
	_test_close_ int fd = CHECK_SYS(eventfd(0, EFD_NONBLOCK));
	uint64_t count;
	pid_t victim;

	/* Two strokes of the attacker ... */
	CHECK_SYS(fcntl(fd, F_SETFL, 0));
	add(fd, FULL);
	/* ... and somebody who opened it non-blocking and rings it. */
	victim = test_fork();
	if (victim == 0) {
		add(fd, 1);
		_exit(0);
	}
	while (!is_in_write(victim))
		usleep(1000);
	CHECK_EQ(CHECK_SYS(read(fd, &count, sizeof(count))), sizeof(count));
	CHECK_EQ(count, FULL);
	test_join(victim);
	CHECK_EQ(CHECK_SYS(read(fd, &count, sizeof(count))), sizeof(count));
	CHECK_EQ(count, 1);
}

TEST(write_cannot_be_asked_not_to_wait)
{
	_test_close_ int fd = CHECK_SYS(eventfd(0, 0));
	uint64_t one = 1;
	struct iovec iov = {.iov_base = &one, .iov_len = sizeof(one)};

	/* Therefore writers poll first. If this ever works, it is the better way: see client_ring.
	 */
	CHECK_ERRNO(pwritev2(fd, &iov, 1, -1, RWF_NOWAIT), EOPNOTSUPP);
}

TEST(read_with_nowait_does_not_wait_whatever_the_mode)
{
	_test_close_ int fd = CHECK_SYS(eventfd(0, EFD_NONBLOCK));
	uint64_t count = 0;

	for (int blocking = 0; blocking < 2; blocking++) {
		CHECK_SYS(fcntl(fd, F_SETFL, blocking ? 0 : O_NONBLOCK));
		CHECK_ERRNO(read_now(fd, &count), EAGAIN);
		add(fd, 3);
		add(fd, 4);
		CHECK_EQ(read_now(fd, &count), 8);
		CHECK_EQ(count, 7);
		CHECK_ERRNO(read_now(fd, &count), EAGAIN);
		/* And it leaves the mode alone. */
		CHECK_EQ(!(fcntl(fd, F_GETFL) & O_NONBLOCK), blocking);
	}
}

TEST(rings_add_up)
{
	_test_close_ int fd = CHECK_SYS(eventfd(0, 0));
	uint64_t count;

	for (int i = 0; i < 1000; i++)
		add(fd, 1);
	CHECK_EQ(read_now(fd, &count), 8);
	CHECK_EQ(count, 1000);
}

TEST(eventfd_has_no_position_and_no_type)
{
	_test_close_ int fd = CHECK_SYS(eventfd(0, 0));
	char path[64], target[64] = "";

	/* How a received descriptor is told to be one: there is no system call for it. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, target, sizeof(target) - 1) > 0);
	CHECK_STR(target, "anon_inode:[eventfd]");
}
