/* SPDX-License-Identifier: BSD-2-Clause */
#include "place.h"

#include "part.h"

#include <base/error.h>
#include <base/fd.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

/* ---- the user's folder ------------------------------------------------------------------------- */

static void
begin(struct place *place, int fd, size_t base_length)
{
	place->folders[0] = (struct place_folder){.fd = fd};
	place->n = 1;
	place->base_length = base_length;
}

/* There is no such folder, so the one thing that comes gets this name. */
static int
open_parent(struct place *place, const char *to, struct ivshmem_error *reterr)
{
	size_t end = strlen(to), start, parent;
	char path[PATH_MAX];
	int fd;

	while (end > 1 && to[end - 1] == '/')
		end--;
	for (start = end; start > 0 && to[start - 1] != '/'; start--)
		;
	if (end - start > NAME_MAX)
		return error_set(reterr, -ENAMETOOLONG, "cannot copy to '%s': %s", to,
			strerror(ENAMETOOLONG));
	for (parent = start; parent > 1 && to[parent - 1] == '/'; parent--)
		;
	snprintf(path, sizeof(path), "%.*s", (int)parent, parent > 0 ? to : ".");
	if (parent == 0)
		snprintf(path, sizeof(path), ".");
	fd = open(path, OPEN_FOLDER);
	if (fd < 0)
		return error_set(
			reterr, -errno, "cannot copy to '%s': '%s': %s", to, path, strerror(errno));
	snprintf(place->rename, sizeof(place->rename), "%.*s", (int)(end - start), to + start);
	begin(place, fd, start);
	return 0;
}

int
place_open(struct place *place, const char *to, bool many, struct ivshmem_error *reterr)
{
	size_t length = strlen(to);
	int fd;

	*place = (struct place){.n = 0};
	if (length == 0)
		return error_set(reterr, -EINVAL, "the path to copy to is empty");
	if (length >= sizeof(place->path))
		return error_set(reterr, -ENAMETOOLONG, "cannot copy to '%.200s...': %s", to,
			strerror(ENAMETOOLONG));
	memcpy(place->path, to, length + 1);
	fd = open(to, OPEN_FOLDER);
	if (fd >= 0) {
		while (length > 0 && to[length - 1] == '/')
			length--;
		begin(place, fd, length);
		return 0;
	}
	if ((errno != ENOENT && errno != ENOTDIR) || many)
		return error_set(reterr, -errno, "cannot copy to '%s': %s%s", to,
			errno == ENOENT ? "there is no such folder" : strerror(errno),
			errno == ENOENT || errno == ENOTDIR
				? "; several things need a folder that exists"
				: "");
	return open_parent(place, to, reterr);
}

void
place_close(struct place *place)
{
	while (place->n > 0)
		fd_close(place->folders[--place->n].fd);
}

int
place_folder(const struct place *place)
{
	return place->folders[place->n - 1].fd;
}

/* ---- what is in it ----------------------------------------------------------------------------- */

int
place_name(struct place *place, char name[NAME_MAX + 1])
{
	size_t length =
		place->n == 1 ? place->base_length : place->folders[place->n - 1].path_length;

	if (place->n == 1 && place->rename[0]) {
		if (place->renamed)
			return -EPROTO;
		place->renamed = true;
		memcpy(name, place->rename, sizeof(place->rename));
		snprintf(place->path + length, sizeof(place->path) - length, "%s", name);
		return 0;
	}
	/* The path is for people: one that is too long is cut off. */
	snprintf(place->path + length, sizeof(place->path) - length, "%s%s", name[0] ? "/" : "",
		name);
	return 0;
}

static int
push(struct place *place, int fd, bool ours, const struct tree_entry *entry)
{
	if (fd < 0)
		return -errno;
	place->folders[place->n++] = (struct place_folder){
		.fd = fd,
		.ours = ours,
		.attributes = entry != NULL,
		.entry = entry ? *entry : (struct tree_entry){0},
		.path_length = strlen(place->path),
	};
	return 0;
}

static int
make_and_enter(struct place *place, const struct tree_record *record)
{
	char name[NAME_MAX + 1];
	bool ours;
	int r;

	memcpy(name, record->name, sizeof(name));
	r = place_name(place, name);
	if (r < 0)
		return r;
	if (place->n > COPY_DEPTH_MAX)
		return -ELOOP;
	/* The content of the sender's folder goes into ours. */
	if (name[0] == '\0')
		return place->n > 1 ? -EPROTO
				    : push(place, openat(place_folder(place), ".", OPEN_FOLDER),
					      false, NULL);
	ours = mkdirat(place_folder(place), name, 0700) == 0;
	if (!ours && errno != EEXIST)
		return -errno;
	r = push(place, openat(place_folder(place), name, OPEN_FOLDER | O_NOFOLLOW), ours,
		&record->entry);
	return r == -ENOTDIR || r == -ELOOP ? -EEXIST : r;
}

int
place_enter(struct place *place, const struct tree_record *record)
{
	int r = place->skipped > 0 ? 0 : make_and_enter(place, record);

	/* Far more than any path has. */
	if (place->skipped == PATH_MAX)
		return -EPROTO;
	if (place->skipped > 0 || r < 0)
		place->skipped++;
	return r;
}

int
place_up(struct place *place, bool owner, int *ret_problem)
{
	struct place_folder *folder;
	int r = 0;

	*ret_problem = 0;
	if (place->skipped > 0) {
		place->skipped--;
		return 0;
	}
	if (place->n <= 1)
		return -EPROTO;
	folder = &place->folders[--place->n];
	place->path[folder->path_length] = '\0';
	if (folder->attributes)
		r = part_attributes(folder->fd, &folder->entry, owner);
	/* What was there belongs to somebody else, perhaps. */
	if (folder->ours)
		*ret_problem = -r;
	folder->fd = fd_close(folder->fd);
	return 0;
}
