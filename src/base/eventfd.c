/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/eventfd.h>

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

bool
eventfd_is(int fd)
{
	static const char expected[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(expected)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n < 0 ||
	       ((size_t)n == sizeof(expected) - 1 && memcmp(target, expected, (size_t)n) == 0);
}

/* What the kernel tells of an eventfd: the number behind `key`, which begins with a newline. False: nothing. */
static bool
read_info(int fd, const char *key, int base, uint64_t *ret_number)
{
	char path[40], info[512];
	const char *found = NULL;
	int file;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = open(path, O_RDONLY | O_CLOEXEC);
	n = file >= 0 ? read(file, info, sizeof(info) - 1) : -1;
	/* Nobody else knows it, and there may be thousands: not fd_close(). */
	if (file >= 0)
		close(file);
	if (n > 0) {
		info[n] = '\0';
		found = strstr(info, key);
	}
	if (found)
		*ret_number = strtoull(found + strlen(key), NULL, base);
	return found;
}

bool
eventfd_same(int a, int b)
{
	static const char key[] = "\neventfd-id:";
	uint64_t first, second;

	return read_info(a, key, 10, &first) && read_info(b, key, 10, &second) && first == second;
}

int
eventfd_count(int fd, uint64_t *ret_count)
{
	return read_info(fd, "\neventfd-count:", 16, ret_count) ? 0 : -EOPNOTSUPP;
}

int
eventfd_ring(int fd)
{
	const uint64_t one = 1;
	struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

	int flags = fcntl(fd, F_GETFL);

	/* A write to a full counter blocks unless O_NONBLOCK is set. Reading the flag is much
	 * cheaper than poll(), and rings must be fast. */
	if ((flags < 0 || !(flags & O_NONBLOCK)) &&
		(poll(&poll_fd, 1, 0) != 1 || !(poll_fd.revents & POLLOUT)))
		return 0;
	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

int
eventfd_take(int fd, uint64_t *ret_count)
{
	uint64_t count;
	struct iovec iov = {&count, sizeof(count)};
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && errno == EOPNOTSUPP) {
		/* Before Linux 5.8. If another holder takes the count between the two calls, we
		 * wait for the next one. */
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

		if (poll(&poll_fd, 1, 0) != 1)
			return -EAGAIN;
		n = read(fd, &count, sizeof(count));
	}
	if (n < 0)
		return -errno;
	if (n != (ssize_t)sizeof(count))
		return -EIO;
	*ret_count = count;
	return 0;
}
