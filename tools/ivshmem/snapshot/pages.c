/* SPDX-License-Identifier: BSD-2-Clause */
#include "pages.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool
is_zero(const uint8_t *bytes, size_t length)
{
	static const uint8_t zero[PAGES_SIZE];

	return memcmp(bytes, zero, length) == 0;
}

size_t
pages_run(const uint8_t *bytes, size_t length, bool *ret_zero)
{
	size_t run = 0;

	while (run < length) {
		size_t page = length - run < PAGES_SIZE ? length - run : PAGES_SIZE;
		bool zero = is_zero(bytes + run, page);

		if (run == 0)
			*ret_zero = zero;
		else if (zero != *ret_zero)
			break;
		run += page;
	}
	return run;
}

int64_t
pages_read(int fd, uint64_t offset, void *buffer, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n =
			pread(fd, (uint8_t *)buffer + done, length - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (int64_t)done;
}

int
pages_write(int fd, uint64_t offset, const void *buffer, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pwrite(
			fd, (const uint8_t *)buffer + done, length - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}
