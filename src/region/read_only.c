/* SPDX-License-Identifier: BSD-2-Clause */
#include <region/read_only.h>

#include <base/error.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int
region_open_read_only(int fd, bool anonymous, struct ivshmem_error *reterr)
{
	char path[32];
	int reader;

	if (anonymous && fchmod(fd, 0600) < 0)
		return error_set(reterr, -errno,
			"cannot take the permissions of other users from the shared memory: %s",
			strerror(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	if (reader < 0)
		return error_set(reterr, -errno,
			"cannot open the shared memory for reading only, through %s: %s", path,
			strerror(errno));
	return reader;
}

bool
region_is_read_only(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY;
}
