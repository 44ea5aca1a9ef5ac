/* SPDX-License-Identifier: BSD-2-Clause */
#include <daemon.h>

#include <fd.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

int
daemon_start(void)
{
	int report[2];
	pid_t child;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child < 0) {
		int r = -errno;

		fd_close(report[0]);
		fd_close(report[1]);
		return r;
	}
	if (child > 0) {
		char ready;
		ssize_t n;

		fd_close(report[1]);
		do
			n = read(report[0], &ready, 1);
		while (n < 0 && errno == EINTR);
		_exit(n == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	fd_close(report[0]);
	setsid();
	return report[1];
}

void
daemon_ready(int report_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		for (int fd = 0; fd <= 2; fd++)
			dup2(null, fd);
		if (null > 2)
			fd_close(null);
	}
	/* If the parent is gone there is nobody to tell. */
	if (write(report_fd, "", 1) < 0)
		errno = 0;
	fd_close(report_fd);
}

int
pid_file_open(struct pid_file *ret_file, const char *path, struct error *reterr)
{
	_fd_cleanup_ int fd = -1;
	struct stat st;

	if (strlen(path) >= sizeof(ret_file->path))
		return error_set(reterr, -ENAMETOOLONG, "the path of the pid file is too long");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return error_set(reterr, -errno,
			"cannot write pid file '%s': %s; choose another one with -p", path,
			strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		char owner[32] = "";
		ssize_t n = pread(fd, owner, sizeof(owner) - 1, 0);

		if (n > 0)
			owner[strcspn(owner, "\n")] = '\0';
		return error_set(reterr, -EBUSY,
			"pid file '%s' belongs to a running server (process %s); stop it, or "
			"choose another one with -p",
			path, n > 0 ? owner : "unknown");
	}
	if (fstat(fd, &st) < 0 || ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		return error_set(
			reterr, -errno, "cannot write pid file '%s': %s", path, strerror(errno));
	*ret_file = (struct pid_file){.dev = st.st_dev, .ino = st.st_ino};
	strcpy(ret_file->path, path);
	ret_file->fd = fd_take(&fd);
	return 0;
}

void
pid_file_close(struct pid_file *file)
{
	struct stat st;

	if (file->fd >= 0 && lstat(file->path, &st) == 0 && st.st_dev == file->dev &&
		st.st_ino == file->ino)
		unlink(file->path);
	file->fd = fd_close(file->fd);
}
