/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOCKET_LISTENER_H
#define SOCKET_LISTENER_H

/*
 * A listening UNIX socket. It is made safely: a running server at the same path is not harmed, and
 * what a dead one left behind is replaced.
 */

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>

struct ivshmem_error;

struct listener_config {
	const char *path;
	mode_t mode; /* who may connect: write permission is what counts */
	uid_t owner; /* (uid_t)-1: leave */
	gid_t group; /* (gid_t)-1: leave */
};

struct listener {
	int fd;
	dev_t dev;
	ino_t ino;
	bool adopted; /* others have it, too */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/*
 * Bind, with everything set, but not listening yet: the path is ours, and the kernel refuses
 * clients. A socket that no living process has bound is replaced, whoever left it. One that
 * somebody has bound, listening or not, is -EADDRINUSE, and anything else at the path is -EEXIST.
 * Starting servers wait for each other, so that none removes as stale what another has just bound.
 */
int listener_bind(struct listener *ret_listener, const struct listener_config *config,
	struct ivshmem_error *reterr);
/*
 * Take over a stream socket that somebody else has bound and that listens already: clients wait in
 * its queue. If it has a path, the path is not ours to remove. -EINVAL for anything else.
 */
int listener_adopt(struct listener *ret_listener, int fd, struct ivshmem_error *reterr);
/* The same for one that an earlier process of ours has bound, at a path of this device and inode:
 * it is ours to remove. */
int listener_continue(
	struct listener *ret_listener, int fd, dev_t dev, ino_t ino, struct ivshmem_error *reterr);
/* Does the path of one that is ours still lead to it? */
bool listener_has_path(const struct listener *listener);
/* Does `path` lead to the adopted socket? */
bool listener_is_at(const struct listener *listener, const char *path);
/* Let clients in, once all that they will get is there. */
int listener_listen(const struct listener *listener, struct ivshmem_error *reterr);

/* Close, and remove the path if it is still our socket. */
void listener_close(struct listener *listener);

#endif
