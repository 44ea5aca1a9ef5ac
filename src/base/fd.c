/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/fd.h>

#include <fcntl.h>
#include <sys/resource.h>

bool (*fd_keep)(int fd);

int
fd_open_standard(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		/* Opened in the wrong direction, so that using it is an error, as it was before. */
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
			return -errno;
	}
	return 0;
}

unsigned long
fd_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {limit.rlim_max, limit.rlim_max};
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	return (unsigned long)limit.rlim_cur;
}

unsigned long
fd_lower_limit(unsigned long wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_cur > wanted) {
		struct rlimit lowered = {wanted, limit.rlim_max};
		if (setrlimit(RLIMIT_NOFILE, &lowered) == 0)
			limit = lowered;
	}
	return (unsigned long)limit.rlim_cur;
}
