/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/fd.h>

#include <test.h>

#include <fcntl.h>
#include <sys/resource.h>

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int
open_something(void)
{
	return CHECK_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

TEST(close_returns_none_and_keeps_errno)
{
	int fd = open_something(), before = fd;

	errno = EXDEV;
	fd = fd_close(fd);
	CHECK_EQ(fd, -1);
	CHECK_EQ(errno, EXDEV);
	CHECK(!is_open(before));
	errno = EXDEV;
	CHECK_EQ(fd_close(-1), -1);
	CHECK_EQ(errno, EXDEV);
}

TEST(take_leaves_none_behind)
{
	int fd = 7, taken = fd_take(&fd);

	CHECK_EQ(taken, 7);
	CHECK_EQ(fd, -1);
	CHECK_EQ(fd_take(&fd), -1);
}

static int
scoped(bool take, int *ret_number)
{
	_fd_cleanup_ int fd = open_something();

	*ret_number = fd;
	return take ? fd_take(&fd) : -1;
}

TEST(cleanup_closes_at_the_end_of_the_scope)
{
	int number;

	CHECK_EQ(scoped(false, &number), -1);
	CHECK(!is_open(number));
}

TEST(cleanup_leaves_what_was_taken)
{
	int number, fd = scoped(true, &number);

	CHECK_EQ(fd, number);
	CHECK(is_open(number));
	close(number);
}

TEST(raise_limit)
{
	struct rlimit limit;

	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){100, 500}));
	CHECK_EQ(fd_raise_limit(), 500);
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	CHECK_EQ(limit.rlim_cur, 500);
	CHECK_EQ(limit.rlim_max, 500);
	CHECK_EQ(fd_raise_limit(), 500);
}
