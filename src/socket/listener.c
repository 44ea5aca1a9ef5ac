/* SPDX-License-Identifier: BSD-2-Clause */
#include <socket/listener.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>

/* How long to wait for other starting servers. Then go on without the lock, because anybody may
 * hold it. */
#define LOCK_WAIT (2 * NSEC_PER_SEC)

static int
lock_directory(const char *path)
{
	char copy[PATH_MAX];
	const struct timespec pause = {.tv_nsec = 10 * (long)NSEC_PER_MSEC};
	uint64_t deadline = clock_now() + LOCK_WAIT;
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK &&
		clock_now() < deadline)
		nanosleep(&pause, NULL);
	return fd;
}

/*
 * Does a living process hold the socket? 1 yes, 0 no, or a negative errno. We ask with a socket of
 * another type: if there is a socket at all, the kernel says that the type is wrong. A server that
 * may be there notices nothing, and gives us no id.
 */
static int
probe(const struct sockaddr_un *address)
{
	_fd_cleanup_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
		errno == EPROTOTYPE)
		return 1;
	if (errno == ECONNREFUSED || errno == ENOENT)
		return 0;
	return -errno;
}

/* Make the path free for bind(), if that is right. */
static int
remove_stale(const struct sockaddr_un *address, struct ivshmem_error *reterr)
{
	const char *path = address->sun_path;
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_set(reterr, -errno, "cannot examine '%s': %s", path,
						 strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return error_set(reterr, -EEXIST,
			"cannot listen on '%s': it exists and is not a socket; choose another path with -S",
			path);
	r = probe(address);
	if (r < 0)
		return error_set(reterr, r,
			"cannot listen on '%s': it exists, and finding out whether a server uses it failed: %s",
			path, strerror(-r));
	if (r > 0)
		return error_set(reterr, -EADDRINUSE,
			"cannot listen on '%s': a server is running there; stop it, or choose another path with -S",
			path);
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(reterr, -errno, "cannot remove the stale socket '%s': %s", path,
			strerror(errno));
	return 0;
}

/* What is at the path now: an O_PATH descriptor, because a name may lead elsewhere the next
 * time. */
static int
open_bound(const char *path, struct stat *ret_status, int *ret_fd)
{
	_fd_cleanup_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	*ret_status = st;
	*ret_fd = fd_take(&fd);
	return 0;
}

static int
bind_path(int fd, const struct sockaddr_un *address, const struct listener_config *config,
	struct stat *ret_status, struct ivshmem_error *reterr)
{
	_fd_cleanup_ int bound = -1;
	mode_t umask_before;
	int r;

	/*
	 * bind() creates the name with the mode of the socket's own inode. Setting the mode by the
	 * name afterwards would follow a link that the owner of the directory may have put there
	 * meanwhile.
	 */
	if (fchmod(fd, config->mode) < 0)
		return error_set(reterr, -errno, "cannot set the mode of socket '%s': %s",
			config->path, strerror(errno));
	umask_before = umask(0);
	r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
	umask(umask_before);
	if (r < 0)
		return error_set(reterr, r, "cannot bind socket '%s': %s%s", config->path,
			strerror(-r), r == -ENOENT ? " (its directory must exist)" : "");

	r = open_bound(config->path, ret_status, &bound);
	if (r == -ENOTSOCK)
		return error_set(
			reterr, r, "socket '%s' was replaced while starting", config->path);
	if (r < 0) {
		unlink(config->path);
		return error_set(
			reterr, r, "cannot examine socket '%s': %s", config->path, strerror(-r));
	}
	/* It does not listen yet, so nobody gets in before this, whatever the mode. */
	if ((config->owner != (uid_t)-1 || config->group != (gid_t)-1) &&
		fchownat(bound, "", config->owner, config->group, AT_EMPTY_PATH) < 0) {
		r = error_set(reterr, -errno, "cannot set the owner or group of socket '%s': %s",
			config->path, strerror(errno));
		unlink(config->path);
	}
	return r;
}

int
listener_bind(struct listener *ret_listener, const struct listener_config *config,
	struct ivshmem_error *reterr)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_fd_cleanup_ int fd = -1, lock = -1;
	struct stat st = {0};
	int r;

	if (config->path[0] == '\0')
		return error_set(reterr, -EINVAL, "the path of the socket is empty");
	if (strlen(config->path) >= sizeof(address.sun_path))
		return error_set(reterr, -ENAMETOOLONG,
			"the path of the socket is too long (at most %zu bytes): '%s'",
			sizeof(address.sun_path) - 1, config->path);
	strcpy(address.sun_path, config->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(reterr, -errno, "cannot create a socket: %s", strerror(errno));

	lock = lock_directory(config->path);
	r = remove_stale(&address, reterr);
	if (r == 0)
		r = bind_path(fd, &address, config, &st, reterr);
	if (r < 0)
		return r;
	*ret_listener = (struct listener){.dev = st.st_dev, .ino = st.st_ino};
	strcpy(ret_listener->path, config->path);
	ret_listener->fd = fd_take(&fd);
	return 0;
}

int
listener_adopt(struct listener *ret_listener, int fd, struct ivshmem_error *reterr)
{
	struct listener listener = {.fd = fd, .adopted = true};
	struct sockaddr_un address = {0};
	socklen_t length = sizeof(address), option_length = sizeof(int);
	int type = 0, listens = 0, flags;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &option_length) < 0)
		return error_set(reterr, -errno, "descriptor %d was passed as a socket: %s", fd,
			strerror(errno));
	option_length = sizeof(int);
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &option_length) < 0)
		return error_set(reterr, -errno, "cannot examine the socket that was passed: %s",
			strerror(errno));
	if (address.sun_family != AF_UNIX || type != SOCK_STREAM || !listens)
		return error_set(reterr, -EINVAL,
			"descriptor %d is not a UNIX stream socket that listens", fd);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
		fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set(reterr, -errno, "cannot use the socket that was passed: %s",
			strerror(errno));
	length -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
	if (length > 0 && address.sun_path[0] == '\0')
		address.sun_path[0] = '@';
	snprintf(listener.path, sizeof(listener.path), "%.*s", (int)length, address.sun_path);
	*ret_listener = listener;
	return 0;
}

int
listener_continue(
	struct listener *ret_listener, int fd, dev_t dev, ino_t ino, struct ivshmem_error *reterr)
{
	struct listener listener;
	int r = listener_adopt(&listener, fd, reterr);

	if (r < 0)
		return r;
	listener.adopted = false;
	listener.dev = dev;
	listener.ino = ino;
	*ret_listener = listener;
	return 0;
}

bool
listener_is_at(const struct listener *listener, const char *path)
{
	struct stat ours, theirs;

	return strcmp(listener->path, path) == 0 ||
	       (stat(listener->path, &ours) == 0 && stat(path, &theirs) == 0 &&
		       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino);
}

int
listener_listen(const struct listener *listener, struct ivshmem_error *reterr)
{
	if (listen(listener->fd, SOMAXCONN) < 0)
		return error_set(reterr, -errno, "cannot listen on socket '%s': %s", listener->path,
			strerror(errno));
	return 0;
}

bool
listener_has_path(const struct listener *listener)
{
	struct stat st;

	return lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
	       st.st_ino == listener->ino;
}

void
listener_close(struct listener *listener)
{
	/* Somebody may have removed our socket, and another server may have bound the path. */
	if (listener->fd >= 0 && !listener->adopted && listener_has_path(listener))
		unlink(listener->path);
	listener->fd = fd_close(listener->fd);
}
