/* SPDX-License-Identifier: BSD-2-Clause */
#include "part.h"

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* How often we look for a part file that others remove and make at the same time. */
#define TRIES 100

void
part_name(const char *name, char ret_part_name[NAME_MAX + 1])
{
	int room = NAME_MAX - 1 - (int)strlen(PART_SUFFIX);
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	if ((int)strlen(name) <= room) {
		snprintf(ret_part_name, NAME_MAX + 1, ".%.*s%s", room, name, PART_SUFFIX);
		return;
	}
	for (const char *at = name; *at; at++)
		hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
	snprintf(ret_part_name, NAME_MAX + 1, ".%.*s-%016" PRIx64 "%s", room - 17, name, hash,
		PART_SUFFIX);
}

/* ---- opening ----------------------------------------------------------------------------------- */

/* 0; -EBUSY: somebody else has it; or it cannot be locked there, which has to be good enough. */
static int
lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES))
		return -EBUSY;
	return 0;
}

/* Whether the name still leads to what we have opened. */
static bool
is_there(const struct part *part, int fd, struct stat *ret_stat)
{
	struct stat named;

	return fstat(fd, ret_stat) == 0 &&
	       fstatat(part->folder, part->part_name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       named.st_ino == ret_stat->st_ino && named.st_dev == ret_stat->st_dev;
}

/* Take the part file that there is. -EAGAIN: it is not there any more, or was none of ours and is
 * removed. */
static int
take_old(struct part *part, int *ret_fd, uint64_t *ret_size)
{
	_fd_cleanup_ int fd = openat(part->folder, part->part_name,
		O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat stat;
	int r;

	if (fd < 0 && errno == ENOENT)
		return -EAGAIN;
	if (fd >= 0) {
		r = lock(fd);
		if (r < 0)
			return r;
		if (!is_there(part, fd, &stat))
			return -EAGAIN;
	}
	/* Somebody else may have put it there, to read what we write. */
	if (fd < 0 || !S_ISREG(stat.st_mode) || stat.st_nlink != 1 || stat.st_uid != geteuid() ||
		fchmod(fd, 0600) < 0)
		return unlinkat(part->folder, part->part_name, 0) < 0 ? -errno : -EAGAIN;
	*ret_size = (uint64_t)stat.st_size;
	*ret_fd = fd_take(&fd);
	return 0;
}

/* -EAGAIN: somebody else made one. */
static int
make_new(const struct part *part, int *ret_fd)
{
	_fd_cleanup_ int fd = openat(part->folder, part->part_name,
		O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat stat;
	int r;

	if (fd < 0)
		return errno == EEXIST ? -EAGAIN : -errno;
	r = lock(fd);
	if (r < 0)
		return r;
	/* Before we locked it, somebody else may have removed it, or finished it. */
	if (!is_there(part, fd, &stat))
		return -EAGAIN;
	*ret_fd = fd_take(&fd);
	return 0;
}

/* A file or a link may not take the place of a device, a pipe or a socket. That of a folder, it cannot. */
static int
check_name(int folder, const char *name)
{
	struct stat stat;

	if (fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) < 0 || S_ISREG(stat.st_mode) ||
		S_ISLNK(stat.st_mode) || S_ISDIR(stat.st_mode))
		return 0;
	return -EEXIST;
}

int
part_open(struct part *part, int folder, const char *name, bool resume, uint64_t *ret_size)
{
	uint64_t size = 0;
	int r = check_name(folder, name);

	*part = (struct part){.folder = folder, .fd = -1};
	snprintf(part->name, sizeof(part->name), "%s", name);
	part_name(name, part->part_name);
	if (r < 0)
		return r;
	r = -EAGAIN;
	for (unsigned i = 0; i < TRIES && r == -EAGAIN; i++) {
		r = take_old(part, &part->fd, &size);
		if (r == -EAGAIN)
			r = make_new(part, &part->fd);
	}
	if (r == -EAGAIN)
		return -EBUSY;
	if (r < 0)
		return r;
	if (!resume && size > 0) {
		size = 0;
		if (ftruncate(part->fd, 0) < 0) {
			r = -errno;
			part_remove(part);
			return r;
		}
	}
	*ret_size = size;
	return 0;
}

/* ---- the end ----------------------------------------------------------------------------------- */

int
part_attributes(int fd, const struct tree_entry *entry, bool owner)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
		{.tv_sec = (time_t)entry->seconds, .tv_nsec = (long)entry->nanoseconds}};

	if (owner && fchown(fd, entry->uid, entry->gid) < 0)
		return -errno;
	/* Without its owner, a program must not get the rights of another one. A sticky bit gives
	 * none, and a folder that all may write to needs it. */
	if (fchmod(fd, entry->mode & (owner ? 07777 : 01777)) < 0)
		return -errno;
	return futimens(fd, times) < 0 ? -errno : 0;
}

int
part_finish(struct part *part, const struct tree_entry *entry, bool owner, uint64_t size)
{
	int r = ftruncate(part->fd, (off_t)size) < 0 ? -errno : 0;

	if (r == 0)
		r = part_attributes(part->fd, entry, owner);
	if (r == 0 && renameat(part->folder, part->part_name, part->folder, part->name) < 0)
		r = -errno;
	if (r < 0)
		part_remove(part);
	part_leave(part);
	return r;
}

void
part_remove(struct part *part)
{
	if (part->fd >= 0)
		unlinkat(part->folder, part->part_name, 0);
	part_leave(part);
}

void
part_leave(struct part *part)
{
	part->fd = fd_close(part->fd);
}

int
part_link(int folder, const char *name, const char *target, const struct tree_entry *entry,
	bool owner)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
		{.tv_sec = (time_t)entry->seconds, .tv_nsec = (long)entry->nanoseconds}};
	char temporary[NAME_MAX + 1];
	int r = check_name(folder, name);

	if (r < 0)
		return r;
	part_name(name, temporary);
	if (symlinkat(target, folder, temporary) < 0 &&
		(errno != EEXIST || unlinkat(folder, temporary, 0) < 0 ||
			symlinkat(target, folder, temporary) < 0))
		return -errno;
	if ((owner &&
		    fchownat(folder, temporary, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0) ||
		utimensat(folder, temporary, times, AT_SYMLINK_NOFOLLOW) < 0 ||
		renameat(folder, temporary, folder, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(folder, temporary, 0);
	return r;
}
