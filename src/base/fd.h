/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_FD_H
#define BASE_FD_H

/*
 * Ownership of file descriptors: the callee borrows an `int fd`, and takes over an `int *fd` on
 * success, which it sets to -1. -1 means none.
 */

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

/*
 * NULL, or asked before a descriptor is closed: returns true if it closes the descriptor itself, later.
 * For a program whose state must say first that the descriptor is not used any more.
 */
extern bool (*fd_keep)(int fd);

/* Close if open; errno is preserved. EINTR is not retried, because on Linux the descriptor is
 * closed either way. */
static inline int
fd_close(int fd)
{
	if (fd >= 0 && !(fd_keep && fd_keep(fd))) {
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
 * Make sure, at the start of a program, that descriptors 0 to 2 are open. Otherwise the first files
 * that the program opens get these numbers, and what it prints goes into them.
 */
int fd_open_standard(void);

/* Raise the soft limit on descriptors to the hard one. Returns the limit that is in force then. */
unsigned long fd_raise_limit(void);

/* Lower the soft limit to this, unless it is lower. Returns the limit that is in force then. */
unsigned long fd_lower_limit(unsigned long wanted);

#endif
