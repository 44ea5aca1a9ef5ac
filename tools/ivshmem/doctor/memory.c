/* SPDX-License-Identifier: BSD-2-Clause */

/* The shared memory, as an object of the host: a file, or what a server passed to us. */

#include "attach.h"
#include "finding.h"
#include "look.h"
#include "topics.h"

#include <base/fd.h>
#include <base/parse.h>

#include <ivshmem/client.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGE 4096

struct object {
	const char *path; /* for people */
	struct stat info;
	struct statfs system;
};

static uint64_t
object_size(const struct object *object)
{
	return (uint64_t)object->info.st_size;
}

static bool
is_on(const struct object *object, unsigned long magic)
{
	return (unsigned long)object->system.f_type == magic;
}

/* Bytes that have no pages yet. */
static uint64_t
unallocated(const struct object *object)
{
	uint64_t there = (uint64_t)object->info.st_blocks * 512;

	return object_size(object) > there ? object_size(object) - there : 0;
}

/* ---- checks of any object -------------------------------------------------------------------- */

static void
check_size(struct doctor *doctor, const struct object *object)
{
	uint64_t size = object_size(object);
	char text[SIZE_TEXT_MAX];

	if (size == 0) {
		mend(doctor, "truncate -s 64M %s, or let the VMM create it", object->path);
		found(doctor, "memory.empty", "%s has no size yet", object->path);
	} else if ((size & (size - 1)) != 0 || size < PAGE) {
		mend(doctor, "while nobody uses it: truncate -s 64M %s", object->path);
		found(doctor, "memory.size",
			"%s has %s, which is no power of two of at least a page", object->path,
			format_size(size, text));
	}
}

static void
check_room(struct doctor *doctor, const struct object *object)
{
	uint64_t room = (uint64_t)object->system.f_bavail * (uint64_t)object->system.f_bsize;
	char missing[SIZE_TEXT_MAX], there[SIZE_TEXT_MAX];

	/* No blocks: no limit. */
	if (!is_on(object, TMPFS_MAGIC) || object->system.f_blocks == 0 ||
		unallocated(object) <= room)
		return;
	mend(doctor,
		"remove what nobody needs from it, or: mount -o remount,size=SIZE MOUNT-POINT");
	found(doctor, "memory.no-room",
		"%s still lacks pages for %s, and its file system has room for %s", object->path,
		format_size(unallocated(object), missing), format_size(room, there));
}

static uint64_t
huge_pages(const struct doctor *doctor, const struct object *object, const char *which)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		(unsigned long long)object->system.f_bsize / 1024, which);
	return look_text(doctor, path, text, sizeof(text)) > 0 ? strtoull(text, NULL, 10) : 0;
}

static void
check_huge_pages(struct doctor *doctor, const struct object *object)
{
	uint64_t page = (uint64_t)object->system.f_bsize;
	uint64_t free_pages, reserved, missing;

	if (!is_on(object, HUGETLBFS_MAGIC) || page == 0)
		return;
	free_pages = huge_pages(doctor, object, "free_hugepages");
	reserved = huge_pages(doctor, object, "resv_hugepages");
	missing = unallocated(object) / page;
	free_pages = free_pages > reserved ? free_pages - reserved : 0;
	if (missing <= free_pages)
		return;
	mend(doctor,
		"echo %" PRIu64 " > /sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
		huge_pages(doctor, object, "nr_hugepages") + missing - free_pages, page / 1024);
	found(doctor, "memory.no-huge-pages",
		"%s still lacks %" PRIu64 " huge pages of %" PRIu64 " KiB, and %" PRIu64
		" are free",
		object->path, missing, page / 1024, free_pages);
}

/* ---- checks of a file ------------------------------------------------------------------------ */

static void
check_place(struct doctor *doctor, const struct object *object)
{
	bool in_dev = strncmp(object->path, "/dev/", 5) == 0 &&
		      strncmp(object->path, "/dev/shm/", 9) != 0 && is_on(object, TMPFS_MAGIC);

	if (in_dev) {
		mend(doctor, "rm %s, load the driver that makes the node, and then start the VMM",
			object->path);
		found(doctor, "memory.in-dev",
			"%s is an ordinary file where a node of a driver should be", object->path);
	}
	if (is_on(object, TMPFS_MAGIC) || is_on(object, HUGETLBFS_MAGIC) ||
		is_on(object, RAMFS_MAGIC))
		return;
	mend(doctor, "use a file in /dev/shm or in a hugetlbfs");
	found(doctor, "memory.on-disk", "%s is on a file system with a disk behind it",
		object->path);
}

static void
check_owner(struct doctor *doctor, const struct object *object)
{
	char who[WHO_TEXT_MAX];

	if (!(object->info.st_mode & S_IWOTH))
		return;
	mend(doctor, "chgrp GROUP %s && chmod 660 %s", object->path, object->path);
	found(doctor, "memory.open-to-all", "everybody may write to %s: it belongs to %s",
		object->path, look_who_may(&object->info, who));
}

static void
tell_looked_at(struct doctor *doctor, const struct object *object)
{
	char text[SIZE_TEXT_MAX], who[WHO_TEXT_MAX];

	found(doctor, "memory.looked-at", "%s has %s and belongs to %s", object->path,
		format_size(object_size(object), text), look_who_may(&object->info, who));
}

typedef void (*object_check)(struct doctor *doctor, const struct object *object);

static const object_check checks[] = {
	tell_looked_at,
	check_place,
	check_owner,
	check_size,
	check_room,
	check_huge_pages,
};

/* The path of "shm:NAME" or "file:PATH", and whether it is for reading only. */
static bool
take_path(const char *target, char path[PATH_MAX])
{
	size_t length;
	bool read_only;

	snprintf(path, PATH_MAX, "%s%s", strncmp(target, "shm:", 4) == 0 ? "/dev/shm/" : "",
		strchr(target, ':') + 1);
	length = strlen(path);
	read_only = length > 3 && strcmp(path + length - 3, ",ro") == 0;
	if (read_only || (length > 3 && strcmp(path + length - 3, ",rw") == 0))
		path[length - 3] = '\0';
	return read_only;
}

/* Whether it is a file that we may use. */
static bool
check_file(struct doctor *doctor, struct object *object, bool read_only)
{
	char who[WHO_TEXT_MAX];

	if (stat(object->path, &object->info) < 0 && errno != EACCES) {
		mend(doctor,
			"start the VMM or ivshmem-device that creates it, or: truncate -s SIZE %s",
			object->path);
		found(doctor, "memory.missing", "there is no %s", object->path);
		return false;
	}
	if (access(object->path, read_only ? R_OK : R_OK | W_OK) < 0) {
		mend(doctor, "chgrp GROUP %s && chmod 660 %s, and the same group for VMM and user",
			object->path, object->path);
		found(doctor, "memory.no-permission", "user %u may not %s %s: it belongs to %s",
			(unsigned)geteuid(), read_only ? "read" : "read and write", object->path,
			look_who_may(&object->info, who));
		return false;
	}
	if (S_ISREG(object->info.st_mode) && statfs(object->path, &object->system) == 0)
		return true;
	mend(doctor, "name a file, such as one in /dev/shm");
	found(doctor, "memory.not-a-file", "%s is no ordinary file", object->path);
	return false;
}

/* For reading only, whatever the target says: we write nothing. */
static void
check_content(struct doctor *doctor, const char *path)
{
	char target[PATH_MAX + 16];
	struct attach_config config = {.cli = doctor->cli, .target = target, .looks = true};
	struct ivshmem_client *client;
	struct ivshmem_error error;

	snprintf(target, sizeof(target), "file:%s,ro", path);
	if (attach(&config, &client, &error) < 0)
		return;
	channels_check(doctor, client);
	ivshmem_detach(client);
}

void
memory_check(struct doctor *doctor, const char *target)
{
	char path[PATH_MAX];
	struct object object = {.path = path};

	if (!check_file(doctor, &object, take_path(target, path)))
		return;
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		checks[i](doctor, &object);
	check_content(doctor, path);
}

/* ---- what a server passed to us -------------------------------------------------------------- */

void
memory_check_attached(struct doctor *doctor, const struct ivshmem_client *client)
{
	struct object object = {.path = "the server's memory"};
	int fd = ivshmem_memory_fd(client);
	int seals = fcntl(fd, F_GET_SEALS);

	if (fstat(fd, &object.info) < 0 || fstatfs(fd, &object.system) < 0)
		return;
	if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
		mend(doctor, "start ivshmem-server without -M and -m");
		found(doctor, "memory.not-sealed",
			"whoever has the server's memory can make it smaller");
	}
	check_size(doctor, &object);
	check_room(doctor, &object);
	check_huge_pages(doctor, &object);
}
