/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/eventfd.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FULL (UINT64_MAX - 1)

static const int modes[] = {0, EFD_NONBLOCK};

static int
eventfd_new(int mode, uint64_t count)
{
	int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC | mode));

	if (count > 0)
		CHECK_SYS(eventfd_write(fd, count));
	return fd;
}

TEST(what_is_an_eventfd)
{
	int eventfds[] = {
		eventfd_new(0, 0), eventfd_new(EFD_NONBLOCK, 7), eventfd_new(EFD_SEMAPHORE, FULL)};

	for (size_t i = 0; i < 3; i++) {
		CHECK(eventfd_is(eventfds[i]));
		close(eventfds[i]);
	}
}

TEST(the_same_one)
{
	_test_close_ int one = eventfd_new(0, 0), other = eventfd_new(0, 0),
			 copy = CHECK_SYS(dup(one));

	CHECK(eventfd_same(one, copy));
	CHECK(!eventfd_same(one, other));
}

TEST(counts_are_seen_and_stay)
{
	static const uint64_t counts[] = {0, 9, 10, 0x123456789abcdef0, FULL};
	int others[2];

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		_test_close_ int fd = eventfd_new(EFD_NONBLOCK, counts[i]);
		uint64_t count = 77;

		for (unsigned n = 0; n < 2; n++) {
			CHECK_EQ(eventfd_count(fd, &count), 0);
			CHECK_EQ(count, counts[i]);
		}
	}
	CHECK_SYS(pipe2(others, O_CLOEXEC));
	CHECK_EQ(eventfd_count(others[0], &(uint64_t){0}), -EOPNOTSUPP);
	CHECK_EQ(eventfd_count(-1, &(uint64_t){0}), -EOPNOTSUPP);
	close(others[0]);
	close(others[1]);
}

TEST(what_is_none)
{
	int others[7];

	others[0] = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	others[1] = CHECK_SYS(memfd_create("[eventfd]", MFD_CLOEXEC));
	others[2] = CHECK_SYS(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	CHECK_SYS(pipe2(others + 3, O_CLOEXEC));
	CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, others + 5));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		CHECK(!eventfd_is(others[i]));
		close(others[i]);
	}
}

TEST(ring_adds_one)
{
	for (size_t i = 0; i < 2; i++) {
		_test_close_ int fd = eventfd_new(modes[i], 0);
		uint64_t count;

		for (int n = 0; n < 5; n++)
			CHECK_EQ(eventfd_ring(fd), 0);
		CHECK_SYS(eventfd_read(fd, &count));
		CHECK_EQ(count, 5);
	}
}

/* It would block, if it were written to. */
TEST(ring_of_a_full_one_is_done_at_once)
{
	for (size_t i = 0; i < 2; i++) {
		_test_close_ int fd = eventfd_new(modes[i], FULL);
		uint64_t count;

		CHECK_EQ(eventfd_ring(fd), 0);
		CHECK_SYS(eventfd_read(fd, &count));
		CHECK_EQ(count, FULL);
	}
}

TEST(take_reads_and_resets)
{
	for (size_t i = 0; i < 2; i++) {
		_test_close_ int fd = eventfd_new(modes[i], 0);
		int flags = CHECK_SYS(fcntl(fd, F_GETFL));
		uint64_t count = 77;

		/* A blocking read would wait for ever. */
		CHECK_EQ(eventfd_take(fd, &count), -EAGAIN);
		CHECK_EQ(count, 77);
		CHECK_SYS(eventfd_write(fd, 3));
		CHECK_EQ(eventfd_take(fd, &count), 0);
		CHECK_EQ(count, 3);
		CHECK_EQ(eventfd_take(fd, &count), -EAGAIN);
		CHECK_SYS(eventfd_write(fd, FULL));
		CHECK_EQ(eventfd_take(fd, &count), 0);
		CHECK_EQ(count, FULL);
		/* The mode stays what it is. */
		CHECK_EQ(eventfd_ring(fd), 0);
		CHECK_EQ(CHECK_SYS(fcntl(fd, F_GETFL)), flags);
	}
}

TEST(take_of_something_else_fails)
{
	_test_close_pair_ int pair[2];
	uint64_t count = 77;

	CHECK_SYS(pipe2(pair, O_CLOEXEC | O_NONBLOCK));
	CHECK_EQ(eventfd_take(pair[0], &count), -EAGAIN);
	CHECK_SYS(write(pair[1], "abc", 3));
	CHECK_EQ(eventfd_take(pair[0], &count), -EIO);
	CHECK_EQ(eventfd_take(pair[1], &count), -EBADF);
	CHECK_EQ(count, 77);
}
