/* SPDX-License-Identifier: BSD-2-Clause */
#include "image.h"

#include "output.h"

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
is_same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool
image_is_same(int fd, int other)
{
	struct stat a, b;

	return fd >= 0 && other >= 0 && fstat(fd, &a) == 0 && fstat(other, &b) == 0 &&
	       is_same_stat(&a, &b);
}

static enum status
check_name(const struct image *image, const char *name, int memory_fd)
{
	struct stat named, memory;

	if (fstatat(image->folder, name, &named, 0) < 0)
		return STATUS_OK;
	if (memory_fd >= 0 && fstat(memory_fd, &memory) == 0 && is_same_stat(&named, &memory))
		return fail("%s is the memory itself: give another name", image->path);
	if (image->remedy)
		return fail(
			"%s exists already: give another name, or %s", image->path, image->remedy);
	return STATUS_OK;
}

enum status
image_begin(struct image *image, const char *path, const char *remedy, int memory_fd)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char folder[PATH_MAX];
	uint64_t size;
	int r;

	*image = (struct image){.path = path, .remedy = remedy, .part.fd = -1};
	if (*name == '\0' || strlen(name) > NAME_MAX || strlen(path) >= sizeof(folder))
		return fail("'%s' cannot be the name of a file", path);
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path + 1) : 1,
		slash ? path : ".");
	image->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (image->folder < 0)
		return fail("cannot open the folder of %s: %s", path, strerror(errno));
	if (check_name(image, name, memory_fd) != STATUS_OK) {
		image_discard(image);
		return STATUS_FAILURE;
	}
	r = part_open(&image->part, image->folder, name, false, &size);
	if (r == 0)
		return STATUS_OK;
	image_discard(image);
	if (r == -EBUSY)
		return fail("cannot write %s: another command writes it now", path);
	if (r == -EEXIST)
		return fail("cannot write %s: it is no file", path);
	return fail("cannot write %s: %s", path, strerror(-r));
}

static int
give_name(const struct image *image)
{
	const struct part *part = &image->part;
	unsigned flags = image->remedy ? RENAME_NOREPLACE : 0;
	int r = renameat2(image->folder, part->part_name, image->folder, part->name, flags);

	/* Not every file system can do it without replacing: then the look before has to do. */
	if (r < 0 && errno == EINVAL && flags)
		r = renameat(image->folder, part->part_name, image->folder, part->name);
	return r;
}

enum status
image_finish(struct image *image)
{
	if (fsync(image->part.fd) < 0 || give_name(image) < 0) {
		int error = errno;

		image_discard(image);
		return fail("cannot write %s: %s", image->path, strerror(error));
	}
	/* The name, too, has to be on the disk. It is there already, so failure changes nothing. */
	(void)fsync(image->folder);
	part_leave(&image->part);
	image->folder = fd_close(image->folder);
	return STATUS_OK;
}

void
image_discard(struct image *image)
{
	part_remove(&image->part);
	image->folder = fd_close(image->folder);
}
