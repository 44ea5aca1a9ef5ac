/* SPDX-License-Identifier: BSD-2-Clause */
#include <daemon.h>

#include <base/error.h>
#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* How often to open the file again. Each time another server has ended meanwhile. */
#define PID_FILE_ATTEMPTS 100

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
	/* If the parent is gone, there is nobody to tell. */
	if (write(report_fd, "", 1) < 0)
		errno = 0;
	fd_close(report_fd);
}

/*
 * Open and lock. Returns 1, or 0 if the path leads to another file by now, or to none: a server
 * that is just ending removes its file, and a lock on a file without a name keeps nobody out.
 */
static int
open_locked(const char *path, int *ret_fd, struct stat *ret_status, struct ivshmem_error *reterr)
{
	/* Does not block: with a FIFO at the path, open() would wait for a writer or reader. */
	_fd_cleanup_ int fd =
		open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0644);
	struct stat st, named;

	if (fd < 0)
		return error_set(reterr, -errno,
			"cannot write pid file '%.300s': %s; choose another one with -p", path,
			strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		char owner[32] = "";
		ssize_t n = pread(fd, owner, sizeof(owner) - 1, 0);

		owner[strspn(owner, "0123456789")] = '\0';
		return error_set(reterr, -EBUSY,
			"pid file '%.300s' belongs to a running server (process %s); stop it, or choose another one with -p",
			path, n > 0 && owner[0] ? owner : "unknown");
	}
	if (fstat(fd, &st) < 0)
		return error_set(reterr, -errno, "cannot examine pid file '%.300s': %s", path,
			strerror(errno));
	if (lstat(path, &named) < 0 || named.st_dev != st.st_dev || named.st_ino != st.st_ino)
		return 0;
	*ret_status = st;
	*ret_fd = fd_take(&fd);
	return 1;
}

int
pid_file_open(struct pid_file *ret_file, const char *path, struct ivshmem_error *reterr)
{
	_fd_cleanup_ int fd = -1;
	struct stat st = {0};
	int r = 0;

	if (strlen(path) >= sizeof(ret_file->path))
		return error_set(reterr, -ENAMETOOLONG, "the path of the pid file is too long");
	for (unsigned attempt = 0; attempt < PID_FILE_ATTEMPTS && r == 0; attempt++)
		r = open_locked(path, &fd, &st, reterr);
	if (r < 0)
		return r;
	if (r == 0)
		return error_set(reterr, -EAGAIN,
			"pid file '%.300s' is removed again and again; choose another one with -p",
			path);
	/* The path may be a link or a file that somebody else put there, to make us empty a file
	 * that must not be emptied. */
	if (!S_ISREG(st.st_mode))
		return error_set(reterr, -EEXIST,
			"cannot use pid file '%.300s': it exists and is not a regular file; choose another one with -p",
			path);
	if (st.st_nlink != 1)
		return error_set(reterr, -EEXIST,
			"cannot use pid file '%.300s': it exists and has another name besides "
			"(a hard link); choose another one with -p",
			path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return error_set(reterr, -EEXIST,
			"cannot use pid file '%.300s': it exists and belongs to user %u; choose another one with -p",
			path, (unsigned)st.st_uid);
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0) {
		r = error_set(reterr, -errno, "cannot write pid file '%.300s': %s", path,
			strerror(errno));
		/* The lock says that it is ours, and what is in it is of no use. */
		unlink(path);
		return r;
	}
	*ret_file = (struct pid_file){.dev = st.st_dev, .ino = st.st_ino};
	strcpy(ret_file->path, path);
	ret_file->fd = fd_take(&fd);
	return 0;
}

void
pid_file_update(const struct pid_file *file)
{
	if (file->fd >= 0 && ftruncate(file->fd, 0) == 0 && lseek(file->fd, 0, SEEK_SET) == 0)
		dprintf(file->fd, "%d\n", (int)getpid());
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
