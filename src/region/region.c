/* SPDX-License-Identifier: BSD-2-Clause */
#include <region/node.h>
#include <region/region.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/parse.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* The kernel's directory for huge pages of one size, in KiB. */
#define HUGE_PAGES "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB"

/* Where shm_open() has its objects. */
#define SHM_DIRECTORY "/dev/shm"

int
region_round_size(uint64_t size, uint64_t *ret_size)
{
	uint64_t rounded = REGION_MIN_SIZE;

	if (size == 0)
		return -EINVAL;
	if (size > REGION_MAX_SIZE)
		return -ERANGE;
	while (rounded < size)
		rounded <<= 1;
	*ret_size = rounded;
	return 0;
}

#define RAISE_FILE_LIMIT "; raise the limit on the size of files (ulimit -f)"

static int
set_size(int fd, uint64_t size, const char *what, struct ivshmem_error *reterr)
{
	char text[SIZE_TEXT_MAX];
	int r;

	if (ftruncate(fd, (off_t)size) == 0)
		return 0;
	r = -errno;
	return error_set(reterr, r, "cannot size %s to %s: %s%s", what, format_size(size, text),
		strerror(-r), r == -EFBIG ? RAISE_FILE_LIMIT : "");
}

/* ", 3 free", or nothing if the kernel does not tell. */
static void
count_free_huge_pages(uint64_t page, char *ret_text, size_t size)
{
	char path[80], line[32];
	FILE *file;

	snprintf(path, sizeof(path), HUGE_PAGES "/free_hugepages", page / 1024);
	file = fopen(path, "re");
	ret_text[0] = '\0';
	if (file && fgets(line, sizeof(line), file))
		snprintf(ret_text, size, ", %llu free", strtoull(line, NULL, 10));
	if (file)
		fclose(file);
}

/* Allocate huge pages now: a group that starts without its pages would kill the first VM that maps
 * them. */
static int
take_huge_pages(int fd, uint64_t size, uint64_t page, struct ivshmem_error *reterr)
{
	char size_text[SIZE_TEXT_MAX], page_text[SIZE_TEXT_MAX], left[40];
	int r;

	/* Must be looked up first: an attempt that fails keeps the pages that it got. */
	count_free_huge_pages(page, left, sizeof(left));
	do
		r = fallocate(fd, 0, 0, (off_t)size) < 0 ? -errno : 0;
	while (r == -EINTR);
	if (r == 0)
		return 0;
	return error_set(reterr, r,
		"cannot get %s in huge pages of %s: %s (%" PRIu64
		" pages needed%s; reserve them in " HUGE_PAGES "/nr_hugepages)",
		format_size(size, size_text), format_size(page, page_text),
		r == -ENOSPC ? "not enough are free" : strerror(-r), size / page, left,
		page / 1024);
}

/* "NAME:   123 kB" of /proc/meminfo. */
static bool
read_kib(const char *line, const char *name, uint64_t *ret_bytes)
{
	size_t length = strlen(name);

	if (strncmp(line, name, length) != 0 || line[length] != ':')
		return false;
	*ret_bytes = strtoull(line + length + 1, NULL, 10) * 1024;
	return true;
}

/* How much memory the machine can still give; UINT64_MAX if nobody can tell. */
static uint64_t
available_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	uint64_t available = UINT64_MAX, swap = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (!read_kib(line, "MemAvailable", &available))
			read_kib(line, "SwapFree", &swap);
	if (file)
		fclose(file);
	return available > UINT64_MAX - swap ? UINT64_MAX : available + swap;
}

static int
refuse_to_allocate(int code, uint64_t size, const char *what, uint64_t space, uint64_t memory,
	struct ivshmem_error *reterr)
{
	char wanted[SIZE_TEXT_MAX], left[SIZE_TEXT_MAX];

	format_size(size, wanted);
	if (code == -EOPNOTSUPP)
		return error_set(reterr, code,
			"cannot allocate the %s of %s: its file system cannot do that ahead; use "
			"another one, such as a tmpfs, or do without --preallocate",
			wanted, what);
	if (code != -ENOSPC && code != -ENOMEM)
		return error_set(reterr, code, "cannot allocate the %s of %s: %s%s", wanted, what,
			strerror(-code), code == -EFBIG ? RAISE_FILE_LIMIT : "");
	if (memory < space)
		return error_set(reterr, code,
			"cannot allocate the %s of %s: this machine has %s of memory left; ask for "
			"less, or free some, or add swap",
			wanted, what, format_size(memory, left));
	return error_set(reterr, code,
		"cannot allocate the %s of %s: its file system has %s free; ask for less, or "
		"remove what is not needed there, or make it larger (a tmpfs by mount -o "
		"remount,size=...)",
		wanted, what, format_size(space, left));
}

/*
 * Also makes the file that large. First it checks that there is enough memory: a machine that has
 * less does not say so when it is asked, but kills a process later.
 */
static int
allocate(int fd, uint64_t size, const char *what, struct ivshmem_error *reterr)
{
	uint64_t had, missing, space = UINT64_MAX, memory = UINT64_MAX;
	struct statfs fs;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return error_set(reterr, -errno, "cannot examine %s: %s", what, strerror(errno));
	if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC)
		return take_huge_pages(fd, size, (uint64_t)fs.f_bsize, reterr);
	had = (uint64_t)st.st_blocks * 512;
	missing = size > had ? size - had : 0;
	/* Without blocks: a file system that has no limit of its own. */
	if (fs.f_blocks > 0 &&
		__builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_bsize, &space))
		space = UINT64_MAX;
	if ((unsigned long)fs.f_type == TMPFS_MAGIC)
		memory = available_memory();
	if (missing > space || missing > memory)
		return refuse_to_allocate(-ENOSPC, size, what, space, memory, reterr);
	do
		r = fallocate(fd, 0, 0, (off_t)size) < 0 ? -errno : 0;
	while (r == -EINTR);
	return r < 0 ? refuse_to_allocate(r, size, what, space, memory, reterr) : 0;
}

/* Before anything is allocated. */
static int
choose_node(int fd, uint64_t size, const struct region_config *config, struct ivshmem_error *reterr)
{
	return config->on_node ? node_bind(fd, size, config->numa_node, "the shared memory", reterr)
			       : 0;
}

static int
open_memfd(struct region *region, const struct region_config *config, struct ivshmem_error *reterr)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	_fd_cleanup_ int fd = -1;
	int r;

	if (config->huge_page == 2 * MIB)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	else if (config->huge_page == GIB)
		flags |= MFD_HUGETLB | MFD_HUGE_1GB;
	else if (config->huge_page != 0)
		return error_set(reterr, -EINVAL, "huge pages are of 2 MiB or 1 GiB");
	if (region->size < config->huge_page)
		region->size = config->huge_page;

	fd = memfd_create("ivshmem", flags);
	if (fd < 0)
		return error_set(reterr, -errno, "cannot create shared memory%s: %s",
			config->huge_page ? " in huge pages of that size" : "", strerror(errno));
	r = set_size(fd, region->size, "the shared memory", reterr);
	if (r == 0)
		r = choose_node(fd, region->size, config, reterr);
	if (r == 0 && config->huge_page)
		r = take_huge_pages(fd, region->size, config->huge_page, reterr);
	else if (r == 0 && config->preallocate)
		r = allocate(fd, region->size, "the shared memory", reterr);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return error_set(
			reterr, -errno, "cannot seal the shared memory: %s", strerror(errno));
	region->sealed = true;
	region->fd = fd_take(&fd);
	return 0;
}

/* How much of the file there is room for: the blocks that it has, and those that are free. */
static uint64_t
room_for(int fd)
{
	struct statvfs fs;
	struct stat st;
	uint64_t had, available;

	/* Without blocks: a file system that has no limit of its own. */
	if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0 || fs.f_blocks == 0)
		return UINT64_MAX;
	had = (uint64_t)st.st_blocks * 512;
	if (__builtin_mul_overflow(fs.f_bavail, fs.f_frsize, &available) ||
		available > UINT64_MAX - had)
		return UINT64_MAX;
	return had + available;
}

/* An object that was there before us is somebody's memory: use it as it is, or grow it. If it is to
 * be allocated, allocating is what grows it, because it could not be shrunk again. */
static int
adopt_existing(struct region *region, const struct region_config *config, int fd,
	const struct stat *st, struct ivshmem_error *reterr)
{
	uint64_t existing = (uint64_t)st->st_size;
	char have[SIZE_TEXT_MAX];

	if (!S_ISREG(st->st_mode))
		return error_set(reterr, -EINVAL, "shared memory object '%s' is not a regular file",
			region->name);
	if (existing > region->size) {
		if ((existing & (existing - 1)) != 0)
			return error_set(reterr, -EINVAL,
				"shared memory object '%s' exists with %s, which is not a power of two, and is "
				"never shrunk: choose another name, or remove it if nobody uses it",
				region->name, format_size(existing, have));
		region->size = existing;
	}
	if (existing < region->size && !config->preallocate)
		return set_size(fd, region->size, "the existing shared memory object", reterr);
	return 0;
}

static int
set_name(struct region *region, const char *name, struct ivshmem_error *reterr)
{
	const char *bare = name + (name[0] == '/');

	if (bare[0] == '\0' || strchr(bare, '/') || strlen(bare) > NAME_MAX)
		return error_set(reterr, -EINVAL,
			"'%s' is not a name for a shared memory object: it must be one file name without slashes",
			name);
	snprintf(region->name, sizeof(region->name), "/%s", bare);
	return 0;
}

/* The facts about a named object that callers ask for. */
static void
describe(struct region *region, int fd, const struct stat *st)
{
	region->dev = st->st_dev;
	region->ino = st->st_ino;
	region->owner = st->st_uid;
	region->mode = st->st_mode & 07777;
	region->room = room_for(fd);
}

static int
open_shm(struct region *region, const struct region_config *config, struct ivshmem_error *reterr)
{
	char what[sizeof(region->name) + 40];
	_fd_cleanup_ int fd = -1;
	struct stat st;
	int r;

	r = set_name(region, config->name, reterr);
	if (r < 0)
		return r;
	fd = shm_open(region->name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, config->mode);
	if (fd >= 0) {
		region->created = true;
		/* Set the mode as asked for, whatever the umask is. */
		if (fchmod(fd, config->mode) < 0)
			r = error_set(reterr, -errno,
				"cannot set the mode of shared memory object '%s': %s",
				region->name, strerror(errno));
	} else if (errno == EEXIST) {
		fd = shm_open(region->name, O_RDWR | O_CLOEXEC, 0);
	}
	if (fd < 0 && errno == ENOENT && access(SHM_DIRECTORY, F_OK) < 0)
		return error_set(reterr, -ENOENT,
			"cannot open shared memory object '%s': there is no " SHM_DIRECTORY
			"; mount a tmpfs there, or do without -M: the default memory needs no name",
			region->name);
	if (fd < 0)
		return error_set(reterr, -errno, "cannot open shared memory object '%s': %s",
			region->name, strerror(errno));
	if (fstat(fd, &st) < 0)
		r = error_set(reterr, -errno, "cannot examine shared memory object '%s': %s",
			region->name, strerror(errno));
	if (r == 0)
		r = region->created ? set_size(fd, region->size, "the shared memory object", reterr)
				    : adopt_existing(region, config, fd, &st, reterr);
	if (r == 0)
		r = choose_node(fd, region->size, config, reterr);
	if (r == 0 && config->preallocate) {
		snprintf(what, sizeof(what), "shared memory object '%s'", region->name);
		r = allocate(fd, region->size, what, reterr);
	}
	if (r < 0) {
		if (region->created)
			shm_unlink(region->name);
		return r;
	}
	describe(region, fd, &st);
	region->fd = fd_take(&fd);
	return 0;
}

static int
open_directory(
	struct region *region, const struct region_config *config, struct ivshmem_error *reterr)
{
	char path[PATH_MAX];
	_fd_cleanup_ int fd = -1;
	struct statfs fs;
	uint64_t page = 0;
	int r;

	if (snprintf(path, sizeof(path), "%s/ivshmem.XXXXXX", config->name) >= (int)sizeof(path))
		return error_set(
			reterr, -ENAMETOOLONG, "directory name '%.300s' is too long", config->name);
	if (statfs(config->name, &fs) < 0)
		return error_set(reterr, -errno, "cannot use directory '%.300s': %s", config->name,
			strerror(errno));
	if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC) {
		page = (uint64_t)fs.f_bsize;
		if (region->size < page)
			region->size = page;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return error_set(reterr, -errno, "cannot create a file in directory '%.300s': %s",
			config->name, strerror(errno));
	/* It lives as long as somebody holds it, and leaves nothing behind. */
	unlink(path);
	r = set_size(fd, region->size, "the file", reterr);
	if (r == 0)
		r = choose_node(fd, region->size, config, reterr);
	if (r == 0 && page)
		r = take_huge_pages(fd, region->size, page, reterr);
	else if (r == 0 && config->preallocate) {
		snprintf(path, sizeof(path), "the file in directory '%.300s'", config->name);
		r = allocate(fd, region->size, path, reterr);
	}
	if (r < 0)
		return r;
	if (!page)
		region->room = room_for(fd);
	region->fd = fd_take(&fd);
	return 0;
}

int
region_open(
	struct region *ret_region, const struct region_config *config, struct ivshmem_error *reterr)
{
	struct region region = {.fd = -1, .room = UINT64_MAX};
	int r = region_round_size(config->size, &region.size);

	if (r < 0)
		return error_set(reterr, r,
			"a shared memory of %" PRIu64
			" bytes is not possible: it must be 1 byte to 4 EiB",
			config->size);
	switch (config->kind) {
	case REGION_MEMFD:
		r = open_memfd(&region, config, reterr);
		break;
	case REGION_SHM:
		r = open_shm(&region, config, reterr);
		break;
	case REGION_DIRECTORY:
		r = open_directory(&region, config, reterr);
		break;
	case REGION_FILE:
	default:
		return error_set(reterr, -EINVAL, "this kind of shared memory is not made here");
	}
	if (r == 0)
		*ret_region = region;
	return r;
}

/* ---- objects that last ----------------------------------------------------------------------- */

/* Allocate huge pages now, as in open_directory(), and other memory if the caller wants it
 * allocated, before the object has its name. */
static int
fill_lasting(
	int fd, const struct region_config *config, const char *what, struct ivshmem_error *reterr)
{
	uint64_t size = config->size;
	struct statfs fs;
	int r = set_size(fd, size, what, reterr);

	if (r == 0 && fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == HUGETLBFS_MAGIC)
		r = take_huge_pages(fd, size, (uint64_t)fs.f_bsize, reterr);
	else if (r == 0 && config->preallocate)
		r = allocate(fd, size, what, reterr);
	return r;
}

/* The directory that `path` is in; `path` has a name in it. */
static void
directory_of(const char *path, char directory[PATH_MAX])
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(directory, PATH_MAX, ".");
	else
		snprintf(directory, PATH_MAX, "%.*s", (int)(slash - path + 1), path);
}

/*
 * Make a file without a name, and give it the name when it is complete. -EEXIST and -EOPNOTSUPP
 * come without a sentence, because the caller can do something about them.
 */
static int
make_unnamed(const char *path, const struct region_config *config, const char *what,
	struct ivshmem_error *reterr)
{
	char directory[PATH_MAX], self[32];
	_fd_cleanup_ int fd = -1;
	int r;

	directory_of(path, directory);
	fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, config->mode);
	/* A kernel that does not know O_TMPFILE takes this for opening a directory for writing. */
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		return -EOPNOTSUPP;
	if (fd < 0)
		return error_set(reterr, -errno, "cannot create %s: %s", what, strerror(errno));
	/* The mode that was asked for, not what the umask leaves of it. */
	if (fchmod(fd, config->mode) < 0)
		return error_set(
			reterr, -errno, "cannot set the mode of %s: %s", what, strerror(errno));
	r = fill_lasting(fd, config, what, reterr);
	if (r < 0)
		return r;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
		/* Without /proc it cannot get a name. */
		return errno == EEXIST ? -EEXIST : -EOPNOTSUPP;
	return fd_take(&fd);
}

/* Where that is not possible: a process that opens the object at the same time may find it empty.
 * -EEXIST comes without a sentence. */
static int
make_named(const char *path, const struct region_config *config, const char *what,
	struct ivshmem_error *reterr)
{
	_fd_cleanup_ int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, config->mode);
	int r;

	if (fd < 0 && errno == EEXIST)
		return -EEXIST;
	if (fd < 0)
		return error_set(reterr, -errno, "cannot create %s: %s", what, strerror(errno));
	if (fchmod(fd, config->mode) < 0)
		r = error_set(
			reterr, -errno, "cannot set the mode of %s: %s", what, strerror(errno));
	else
		r = fill_lasting(fd, config, what, reterr);
	if (r < 0) {
		unlink(path);
		return r;
	}
	return fd_take(&fd);
}

/* Open it, or make it if need be. Returns the descriptor or a negative errno. */
static int
open_or_make(const char *path, const struct region_config *config, const char *what,
	struct ivshmem_error *reterr)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	if (config->kind == REGION_SHM)
		flags |= O_NOFOLLOW;
	/* If somebody else makes it meanwhile, use that one. */
	for (int i = 0; i < 3; i++) {
		int fd = open(path, flags);

		if (fd >= 0)
			return fd;
		if (errno != ENOENT)
			return error_set(
				reterr, -errno, "cannot open %s: %s", what, strerror(errno));
		if (config->size == 0)
			return error_set(reterr, -ENOENT,
				"there is no %s; give a size, and it will be created", what);
		fd = make_unnamed(path, config, what, reterr);
		if (fd == -EOPNOTSUPP)
			fd = make_named(path, config, what, reterr);
		if (fd != -EEXIST)
			return fd;
	}
	return error_set(reterr, -EEXIST,
		"cannot create %s: the name is taken, but cannot be opened (a link that leads nowhere?)",
		what);
}

int
region_open_lasting(
	struct region *ret_region, const struct region_config *config, struct ivshmem_error *reterr)
{
	struct region region = {.fd = -1, .room = UINT64_MAX};
	char path[PATH_MAX], what[400], have[SIZE_TEXT_MAX], wanted[SIZE_TEXT_MAX];
	_fd_cleanup_ int fd = -1;
	struct stat st;
	int r = 0;

	if (config->kind == REGION_SHM) {
		r = set_name(&region, config->name, reterr);
		if (r < 0)
			return r;
		snprintf(path, sizeof(path), SHM_DIRECTORY "%s", region.name);
		snprintf(what, sizeof(what), "shared memory object '%s'", region.name);
	} else if (config->kind != REGION_FILE) {
		return error_set(reterr, -EINVAL, "this kind of shared memory does not last");
	} else if (snprintf(path, sizeof(path), "%s", config->name) >= (int)sizeof(path)) {
		return error_set(reterr, -ENAMETOOLONG, "the name of file '%.300s' is too long",
			config->name);
	} else {
		snprintf(what, sizeof(what), "file '%.300s'", config->name);
	}

	fd = r = open_or_make(path, config, what, reterr);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return error_set(reterr, -errno, "cannot examine %s: %s", what, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(
			reterr, -EINVAL, "%s is neither shared memory nor an ordinary file", what);
	region.size = (uint64_t)st.st_size;
	if (region.size < config->size)
		return error_set(reterr, -EINVAL,
			"%s has %s, which is less than the %s that are to be shared; it is never "
			"resized: ask for less, or remove it if nobody uses it",
			what, format_size(region.size, have), format_size(config->size, wanted));
	/* An existing file may have holes. */
	if (config->preallocate) {
		r = allocate(fd, region.size, what, reterr);
		if (r < 0)
			return r;
	}
	describe(&region, fd, &st);
	region.sealed = region_is_sealed(fd);
	region.fd = fd_take(&fd);
	*ret_region = region;
	return 0;
}

int
region_shm_path(const char *name, char *ret_path, size_t size, struct ivshmem_error *reterr)
{
	struct region region;
	int r = set_name(&region, name, reterr);

	if (r == 0)
		snprintf(ret_path, size, SHM_DIRECTORY "%s", region.name);
	return r;
}

bool
region_is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_SHRINK);
}

/* ---- closing and mapping --------------------------------------------------------------------- */

/*
 * Does the name still lead to our object? Somebody may have removed it and made a new one. This
 * does not open it, because its mode may forbid that even to us.
 */
static bool
name_is_ours(const struct region *region)
{
	char path[sizeof(SHM_DIRECTORY) + sizeof(region->name)];
	struct stat st;

	snprintf(path, sizeof(path), SHM_DIRECTORY "%s", region->name);
	return lstat(path, &st) == 0 && st.st_dev == region->dev && st.st_ino == region->ino;
}

void
region_close(struct region *region)
{
	if (region->created && name_is_ours(region))
		shm_unlink(region->name);
	region->created = false;
	region->fd = fd_close(region->fd);
}

static int
map(int fd, int protection, void **ret_address, uint64_t *ret_size, struct ivshmem_error *reterr)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;
	void *address;

	if (fstat(fd, &st) < 0)
		return error_set(
			reterr, -errno, "cannot examine the shared memory: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(
			reterr, -EINVAL, "what was sent as shared memory is not a memory object");
	if (st.st_size <= 0 || (uint64_t)st.st_size % page != 0)
		return error_set(reterr, -EINVAL,
			"the shared memory has %lld bytes, which is not a positive multiple of the page size, %" PRIu64,
			(long long)st.st_size, page);
	if ((uint64_t)st.st_size > SIZE_MAX)
		return error_set(reterr, -EFBIG, "the shared memory is too large for this machine");
	address = mmap(NULL, (size_t)st.st_size, protection, MAP_SHARED, fd, 0);
	if (address == MAP_FAILED)
		return error_set(reterr, -errno, "cannot map the shared memory: %s%s",
			strerror(errno),
			errno == EACCES || errno == EPERM ? " (it is read-only)" : "");
	*ret_address = address;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

int
region_map(int fd, void **ret_address, uint64_t *ret_size, struct ivshmem_error *reterr)
{
	return map(fd, PROT_READ | PROT_WRITE, ret_address, ret_size, reterr);
}

int
region_map_read_only(int fd, void **ret_address, uint64_t *ret_size, struct ivshmem_error *reterr)
{
	return map(fd, PROT_READ, ret_address, ret_size, reterr);
}

void
region_unmap(void *address, uint64_t size)
{
	if (address)
		munmap(address, (size_t)size);
}
