/* SPDX-License-Identifier: BSD-2-Clause */
#include "walk.h"

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A pipe or a device that has taken the place of a file is not to stop us. */
#define OPEN (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

static enum walk_step fail_step(struct walk *walk, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static enum walk_step
fail_step(struct walk *walk, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(walk->problem, sizeof(walk->problem), format, args);
	va_end(args);
	return WALK_PROBLEM;
}

static enum walk_step
fail_errno(struct walk *walk)
{
	if (errno == ENOENT && walk->depth > 0)
		return fail_step(walk, "'%s' vanished before it was read", walk->path);
	return fail_step(walk, "cannot read '%s': %s", walk->path, strerror(errno));
}

/* ---- one entry of a folder, or an operand ----------------------------------------------------- */

static enum walk_step
enter(struct walk *walk, int *fd)
{
	DIR *folder;

	if (walk->depth == COPY_DEPTH_MAX)
		return fail_step(walk, "'%s' was left out: it is in more than %d folders",
			walk->path, COPY_DEPTH_MAX);
	folder = fdopendir(*fd);
	if (!folder)
		return fail_errno(walk);
	fd_take(fd);
	walk->folders[walk->depth] = folder;
	walk->path_lengths[walk->depth] = strlen(walk->path);
	walk->depth++;
	return WALK_FOLDER;
}

static enum walk_step
look_at_link(struct walk *walk, int folder, const char *path)
{
	ssize_t n = readlinkat(folder, path, walk->target, sizeof(walk->target) - 1);

	if (n < 0)
		return fail_errno(walk);
	walk->target[n] = '\0';
	return WALK_LINK;
}

/* `path`, in `folder`; `nofollow` is O_NOFOLLOW or 0. */
static enum walk_step
look_at(struct walk *walk, int folder, const char *path, int nofollow)
{
	_fd_cleanup_ int fd = -1;

	if (fstatat(folder, path, &walk->stat, nofollow ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return fail_errno(walk);
	if (S_ISLNK(walk->stat.st_mode))
		return look_at_link(walk, folder, path);
	if (!S_ISREG(walk->stat.st_mode) && !S_ISDIR(walk->stat.st_mode))
		return fail_step(walk,
			"'%s' was left out: it is neither a file, a folder nor a symbolic link",
			walk->path);
	if (walk->counting && S_ISREG(walk->stat.st_mode))
		return WALK_FILE;
	fd = openat(folder, path, OPEN | nofollow);
	if (fd < 0 || fstat(fd, &walk->stat) < 0)
		return fail_errno(walk);
	if (S_ISDIR(walk->stat.st_mode))
		return enter(walk, &fd);
	if (!S_ISREG(walk->stat.st_mode))
		return fail_step(walk, "'%s' vanished before it was read", walk->path);
	walk->fd = fd_take(&fd);
	return WALK_FILE;
}

/* ---- operands ---------------------------------------------------------------------------------- */

/* The name of an operand at the receiver: its last part. None if it is a folder as such, whose content
 * is copied: ".", "..", "/", and what ends in these. */
static bool
name_operand(struct walk *walk, const char *operand)
{
	size_t end = strlen(operand), start;

	while (end > 1 && operand[end - 1] == '/')
		end--;
	for (start = end; start > 0 && operand[start - 1] != '/'; start--)
		;
	if (end - start > NAME_MAX)
		return false;
	memcpy(walk->name, operand + start, end - start);
	walk->name[end - start] = '\0';
	if (strcmp(walk->name, ".") == 0 || strcmp(walk->name, "..") == 0 ||
		strcmp(walk->name, "/") == 0)
		walk->name[0] = '\0';
	return true;
}

static enum walk_step
next_operand(struct walk *walk)
{
	const char *operand = *walk->operands;

	if (!operand)
		return WALK_END;
	walk->operands++;
	snprintf(walk->path, sizeof(walk->path), "%s", operand);
	if (operand[0] == '\0')
		return fail_step(walk, "a path is empty");
	if (strlen(operand) >= sizeof(walk->path) || !name_operand(walk, operand))
		return fail_step(walk, "cannot read '%s': %s", operand, strerror(ENAMETOOLONG));
	return look_at(walk, AT_FDCWD, operand, 0);
}

/* ---- folders ----------------------------------------------------------------------------------- */

static void
leave(struct walk *walk)
{
	walk->unreadable = false;
	walk->depth--;
	closedir(walk->folders[walk->depth]);
	walk->path[walk->path_lengths[walk->depth]] = '\0';
}

static enum walk_step
next_entry(struct walk *walk)
{
	DIR *folder = walk->folders[walk->depth - 1];
	size_t length = walk->path_lengths[walk->depth - 1];
	const char *slash = length > 0 && walk->path[length - 1] == '/' ? "" : "/";
	struct dirent *entry;

	walk->path[length] = '\0';
	errno = 0;
	entry = walk->unreadable ? NULL : readdir(folder);
	if (!entry && errno != 0) {
		/* The problem first, and with the next step the way up. */
		walk->unreadable = true;
		return fail_errno(walk);
	}
	if (!entry) {
		leave(walk);
		return WALK_UP;
	}
	if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
		return WALK_NOTHING;
	snprintf(walk->name, sizeof(walk->name), "%s", entry->d_name);
	/* The path is for people: one that is too long is cut off. */
	snprintf(walk->path + length, sizeof(walk->path) - length, "%s%s", slash, walk->name);
	return look_at(walk, dirfd(folder), walk->name, O_NOFOLLOW);
}

void
walk_begin(struct walk *walk, const char *const *operands, bool counting)
{
	*walk = (struct walk){.operands = operands, .counting = counting, .fd = -1};
}

enum walk_step
walk_next(struct walk *walk)
{
	return walk->depth > 0 ? next_entry(walk) : next_operand(walk);
}

void
walk_end(struct walk *walk)
{
	while (walk->depth > 0)
		leave(walk);
	walk->fd = fd_close(walk->fd);
}
