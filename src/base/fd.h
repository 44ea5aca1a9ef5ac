/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_FD_H
#define BASE_FD_H

/*
 * Ownership of file descriptors: `int fd` as a parameter is borrowed, `int *fd` is taken over (and
 * set to -1) on success. -1 means none.
 */

#include <errno.h>
#include <unistd.h>

/* Close if open; errno is preserved. EINTR is not retried: on Linux the descriptor is gone either
 * way. */
static inline int
fd_close(int fd)
{
	if (fd >= 0) {
		int saved = errno;
		close(fd);
		errno = saved;
	}
	return -1;
}

static inline int
fd_take(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

static inline void
fd_cleanup(int *fd)
{
	*fd = fd_close(*fd);
}

/* A local descriptor that is closed when it goes out of scope, unless fd_take() took it. */
#define _fd_cleanup_ __attribute__((cleanup(fd_cleanup)))

/*
 * Make sure that descriptors 0 to 2 are open, at the start of a program: otherwise the first files it
 * opens get these numbers, and what it prints goes into them.
 */
int fd_open_standard(void);

/* Raise the soft limit on descriptors to the hard one; returns the limit then in force. */
unsigned long fd_raise_limit(void);

#endif
