/* SPDX-License-Identifier: BSD-2-Clause */
#include <region/region.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* ---- sizes ---------------------------------------------------------------------------------- */

TEST(round_size_table)
{
	static const struct {
		uint64_t size, rounded;
	} table[] = {
		{1, 4 * KIB},
		{100, 4 * KIB},
		{4095, 4 * KIB},
		{4096, 4 * KIB},
		{3 * MIB, 4 * MIB},
		{5 * GIB, 8 * GIB},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint64_t rounded = 0;

		CHECK_EQ(region_round_size(table[i].size, &rounded), 0);
		CHECK_EQ(rounded, table[i].rounded);
	}
}

TEST(round_size_refusals)
{
	uint64_t rounded = 77;

	CHECK_EQ(region_round_size(0, &rounded), -EINVAL);
	CHECK_EQ(region_round_size(REGION_MAX_SIZE + 1, &rounded), -ERANGE);
	CHECK_EQ(region_round_size(UINT64_MAX, &rounded), -ERANGE);
	CHECK_EQ(rounded, 77);
}

TEST(round_size_of_every_power_and_its_neighbours)
{
	for (unsigned shift = 13; shift <= 62; shift++) {
		uint64_t power = UINT64_C(1) << shift, rounded;

		CHECK_EQ(region_round_size(power, &rounded), 0);
		CHECK_EQ(rounded, power);
		CHECK_EQ(region_round_size(power - 1, &rounded), 0);
		CHECK_EQ(rounded, power);
		CHECK_EQ(region_round_size(power / 2 + 1, &rounded), 0);
		CHECK_EQ(rounded, power);
	}
}

/* ---- memfd ---------------------------------------------------------------------------------- */

static struct region region = {.fd = -1};

void
test_after(void)
{
	region_close(&region);
}

static void
open_ok(struct region_config config)
{
	struct ivshmem_error error = {0};
	int r = region_open(&region, &config, &error);

	if (r < 0)
		FAIL("region_open() = %d, \"%s\"", r, error.message);
	CHECK(fcntl(region.fd, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(error.code, 0);
}

/* Demand this error and a sentence, and that nothing stays behind. */
static void
open_fails(struct region_config config, int code, const char *words)
{
	struct ivshmem_error error = {0};
	unsigned open_fds = test_open_fds();

	CHECK_EQ(region_open(&region, &config, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, words);
	CHECK(error.message[strlen(error.message) - 1] != '.');
	CHECK_EQ(region.fd, -1);
	CHECK_EQ(test_open_fds(), open_fds);
	CHECK_EQ(region_open(&region, &config, NULL), code);
}

static uint64_t
size_of(int fd)
{
	struct stat status;

	CHECK_SYS(fstat(fd, &status));
	return (uint64_t)status.st_size;
}

TEST(memfd_is_sealed_and_zero)
{
	void *address;
	uint64_t size;

	open_ok((struct region_config){.kind = REGION_MEMFD, .size = 3 * MIB});
	CHECK_EQ(region.size, 4 * MIB);
	CHECK(region.sealed);
	CHECK(!region.created);
	CHECK_EQ(size_of(region.fd), 4 * MIB);
	CHECK_EQ(CHECK_SYS(fcntl(region.fd, F_GET_SEALS)),
		F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	CHECK_ERRNO(ftruncate(region.fd, 0), EPERM);
	CHECK_EQ(region_map(region.fd, &address, &size, NULL), 0);
	for (uint64_t i = 0; i < size; i += 4096)
		CHECK_EQ(((const char *)address)[i], 0);
	region_unmap(address, size);
	region_close(&region);
	CHECK_EQ(region.fd, -1);
}

TEST(memfd_of_five_gib)
{
	open_ok((struct region_config){.kind = REGION_MEMFD, .size = 5 * GIB});
	CHECK_EQ(region.size, 8 * GIB);
	CHECK_EQ(size_of(region.fd), 8 * GIB);
}

TEST(memfd_refusals)
{
	open_fails((struct region_config){.kind = REGION_MEMFD, .size = 0}, -EINVAL, "0 bytes");
	open_fails((struct region_config){.kind = REGION_MEMFD, .size = UINT64_MAX}, -ERANGE,
		"possible");
	open_fails((struct region_config){.kind = REGION_MEMFD, .size = MIB, .huge_page = 4096},
		-EINVAL, "2 MiB or 1 GiB");
}

/* From here on no file of this process can be larger: every ftruncate() beyond it fails. */
static void
limit_file_size(uint64_t size)
{
	signal(SIGXFSZ, SIG_IGN);
	CHECK_SYS(setrlimit(RLIMIT_FSIZE, &(struct rlimit){size, size}));
}

TEST(memfd_that_cannot_have_its_size)
{
	limit_file_size(MIB);
	open_fails((struct region_config){.kind = REGION_MEMFD, .size = 2 * MIB}, -EFBIG, "2 MiB");
}

#define HUGE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static unsigned
huge_pages(const char *which)
{
	char path[128];
	unsigned n = 0;
	FILE *file;

	snprintf(path, sizeof(path), HUGE_PAGES "%s", which);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%u", &n) != 1)
			n = 0;
		fclose(file);
	}
	return n;
}

static void
set_huge_pages(unsigned n)
{
	FILE *file = fopen(HUGE_PAGES "nr_hugepages", "we");

	if (file) {
		fprintf(file, "%u\n", n);
		fclose(file);
	}
}

TEST(memfd_in_huge_pages)
{
	struct region_config config = {.kind = REGION_MEMFD, .size = MIB, .huge_page = 2 * MIB};
	unsigned before, free_before;
	struct ivshmem_error error;
	int lock, r;

	/* With the rights for it, borrow one from the system; one test at a time. */
	lock = open(HUGE_PAGES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0)
		SKIP("this kernel has no huge pages of 2 MiB");
	CHECK_SYS(flock(lock, LOCK_EX));
	before = huge_pages("nr_hugepages");
	if (huge_pages("free_hugepages") == 0)
		set_huge_pages(before + 1);
	if (huge_pages("free_hugepages") == 0)
		SKIP("no huge page of 2 MiB is free, and none can be reserved");
	free_before = huge_pages("free_hugepages");
	r = region_open(&region, &config, &error);
	if (r == 0) {
		CHECK_EQ(region.size, 2 * MIB);
		CHECK(region.sealed);
		CHECK_EQ(huge_pages("free_hugepages"), free_before - 1);
		CHECK_ERRNO(ftruncate(region.fd, 0), EPERM);
		region_close(&region);
	}
	set_huge_pages(before);
	close(lock);
	CHECK_EQ(r, 0);
}

TEST(memfd_in_huge_pages_that_are_not_there)
{
	struct region_config config = {
		.kind = REGION_MEMFD, .size = UINT64_C(1) << 44, .huge_page = 2 * MIB};

	if (access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) < 0)
		SKIP("this kernel has no huge pages of 2 MiB");
	open_fails(config, -ENOSPC, "nr_hugepages");
}

/* ---- named objects -------------------------------------------------------------------------- */

static struct region_config
shm_config(uint64_t size)
{
	return (struct region_config){
		.kind = REGION_SHM, .name = test_object(), .size = size, .mode = 0640};
}

static bool
shm_exists(void)
{
	int fd = shm_open(test_object(), O_RDONLY, 0);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void
shm_make(uint64_t size, char content)
{
	_test_close_ int fd = CHECK_SYS(shm_open(test_object(), O_RDWR | O_CREAT | O_EXCL, 0600));

	CHECK_SYS(ftruncate(fd, (off_t)size));
	if (size > 0)
		CHECK_EQ(pwrite(fd, &content, 1, 0), 1);
}

static char
first_byte(int fd)
{
	char byte;

	CHECK_EQ(pread(fd, &byte, 1, 0), 1);
	return byte;
}

TEST(shm_is_created_with_its_mode_and_removed)
{
	struct region_config config = shm_config(MIB);
	char name[80];

	umask(0077); /* must not matter */
	snprintf(name, sizeof(name), "/%s", test_object());
	/* The name may have the leading slash. */
	for (int slash = 1; slash >= 0; slash--) {
		struct stat status;

		config.name = name + !slash;
		open_ok(config);
		CHECK(region.created);
		CHECK(!region.sealed);
		CHECK_EQ(region.size, MIB);
		CHECK_SYS(fstat(region.fd, &status));
		CHECK_EQ(status.st_mode & 07777, 0640);
		CHECK_EQ(status.st_size, MIB);
		CHECK(shm_exists());
		region_close(&region);
		CHECK(!shm_exists());
	}
}

TEST(shm_that_exists_is_kept_or_grows_and_is_never_shrunk)
{
	static const struct {
		const char *name;
		uint64_t before, wanted, after;
		char content;
	} objects[] = {
		{"just as large", MIB, MIB, MIB, 'k'},
		{"larger", 8 * MIB, 4 * MIB, 8 * MIB, 'l'},
		{"too small", MIB, 4 * MIB, 4 * MIB, 's'},
		{"empty", 0, MIB, MIB, 0},
	};

	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		struct region_config config = shm_config(objects[i].wanted);

		fprintf(stderr, "%s\n", objects[i].name);
		shm_make(objects[i].before, objects[i].content);
		open_ok(config);
		CHECK(!region.created);
		CHECK_EQ(region.size, objects[i].after);
		CHECK_EQ(size_of(region.fd), objects[i].after);
		CHECK_EQ(first_byte(region.fd), objects[i].content);
		region_close(&region);
		CHECK(shm_exists());
		CHECK_SYS(shm_unlink(test_object()));
	}
}

TEST(shm_that_is_larger_and_no_power_of_two_is_refused_untouched)
{
	_test_close_ int fd = -1;

	shm_make(3 * MIB, 'o');
	open_fails(shm_config(MIB), -EINVAL, "power of two");
	fd = CHECK_SYS(shm_open(test_object(), O_RDONLY, 0));
	CHECK_EQ(size_of(fd), 3 * MIB);
	CHECK_EQ(first_byte(fd), 'o');
}

TEST(shm_close_leaves_an_object_of_the_same_name_that_is_another)
{
	for (int another = 0; another <= 1; another++) {
		open_ok(shm_config(MIB));
		CHECK_SYS(shm_unlink(test_object()));
		if (another)
			shm_make(MIB, 'n');
		region_close(&region);
		CHECK_EQ(shm_exists(), another);
	}
}

TEST(shm_close_removes_what_may_not_be_opened)
{
	struct region_config config = shm_config(MIB);
	char where[100];

	snprintf(where, sizeof(where), "/dev/shm/%s", test_object());
	config.mode = 0;
	if (geteuid() == 0)
		CHECK_SYS(seteuid(64079));
	open_ok(config);
	CHECK_EQ(access(where, F_OK), 0);
	region_close(&region);
	if (getuid() == 0)
		CHECK_SYS(seteuid(0));
	CHECK_EQ(access(where, F_OK), -1);
}

TEST(shm_tells_whose_it_is)
{
	_test_close_ int fd = -1;

	shm_make(MIB, 'w');
	fd = CHECK_SYS(shm_open(test_object(), O_RDWR, 0));
	CHECK_SYS(fchmod(fd, 0626));
	if (geteuid() == 0)
		CHECK_SYS(fchown(fd, 64079, 64080));
	open_ok(shm_config(MIB));
	CHECK_EQ(region.mode, 0626);
	CHECK_EQ(region.owner, geteuid() == 0 ? 64079 : geteuid());
}

TEST(room_is_what_it_has_and_what_is_free)
{
	struct region_config config = shm_config(MIB);
	struct statvfs fs;
	uint64_t all;

	CHECK_SYS(statvfs("/dev/shm", &fs));
	all = (uint64_t)fs.f_blocks * fs.f_frsize;
	if (all == 0 || all > UINT64_C(1) << 60)
		SKIP("/dev/shm has no limit that counts");
	open_ok(config);
	CHECK(region.room <= all);
	region_close(&region);
	/* Sparse, so it can be had; more than there can ever be. */
	config.size = 2 * all;
	open_ok(config);
	CHECK(region.room < region.size);
	region_close(&region);
	/* A memfd is nobody's file system. */
	open_ok((struct region_config){.kind = REGION_MEMFD, .size = 2 * all});
	CHECK_EQ(region.room, UINT64_MAX);
}

TEST(shm_names_that_are_none)
{
	static const char *const names[] = {"", "/", "a/b", "/a/b", "//a", "../a"};
	char long_name[300];
	struct region_config config = {.kind = REGION_SHM, .size = MIB, .mode = 0600};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		config.name = names[i];
		open_fails(config, -EINVAL, "not a name");
	}
	memset(long_name, 'n', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = 0;
	config.name = long_name;
	open_fails(config, -EINVAL, "not a name");
	config.name = ".";
	CHECK(region_open(&region, &config, NULL) < 0);
	config.name = "..";
	CHECK(region_open(&region, &config, NULL) < 0);
}

TEST(shm_failure_removes_what_was_created_and_leaves_what_was_there)
{
	limit_file_size(MIB);
	for (int was_there = 0; was_there <= 1; was_there++) {
		if (was_there)
			shm_make(MIB, 't');
		open_fails(shm_config(2 * MIB), -EFBIG, "2 MiB");
		CHECK_EQ(shm_exists(), was_there);
	}
}

/* ---- files in a directory ------------------------------------------------------------------- */

TEST(directory_gets_a_file_without_name)
{
	struct region_config config = {
		.kind = REGION_DIRECTORY, .name = test_directory(), .size = 5 * MIB};
	struct stat status;

	open_ok(config);
	CHECK_EQ(region.size, 8 * MIB);
	CHECK(!region.created);
	CHECK_SYS(fstat(region.fd, &status));
	CHECK_EQ(status.st_size, 8 * MIB);
	CHECK_EQ(status.st_nlink, 0);
	CHECK_SYS(rmdir(test_directory()));
	region_close(&region);
	CHECK_SYS(mkdir(test_directory(), 0700));
}

TEST(directory_refusals)
{
	struct region_config config = {.kind = REGION_DIRECTORY, .size = MIB};
	char path[200], long_path[PATH_MAX + 10];
	int fd;

	snprintf(path, sizeof(path), "%s/missing", test_directory());
	config.name = path;
	open_fails(config, -ENOENT, path);
	fd = CHECK_SYS(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	close(fd);
	open_fails(config, -ENOTDIR, path);
	memset(long_path, 'd', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = 0;
	config.name = long_path;
	open_fails(config, -ENAMETOOLONG, "too long");
	/* Not too long as a path, but as a name in one: the reason is not cut off. */
	long_path[2000] = 0;
	open_fails(config, -ENAMETOOLONG, strerror(ENAMETOOLONG));
}

TEST(directory_failure_leaves_no_file)
{
	struct region_config config = {
		.kind = REGION_DIRECTORY, .name = test_directory(), .size = 2 * MIB};

	limit_file_size(MIB);
	open_fails(config, -EFBIG, "2 MiB");
	/* Fails if it is not empty. */
	CHECK_SYS(rmdir(test_directory()));
	CHECK_SYS(mkdir(test_directory(), 0700));
}

/* ---- mapping what was received -------------------------------------------------------------- */

static int
memfd_of(uint64_t size)
{
	int fd = CHECK_SYS(memfd_create("test", MFD_CLOEXEC));

	CHECK_SYS(ftruncate(fd, (off_t)size));
	return fd;
}

static void
map_fails(int fd, int code, const char *words)
{
	void *address = &code;
	uint64_t size = 77;
	struct ivshmem_error error = {0};

	CHECK_EQ(region_map(fd, &address, &size, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, words);
	CHECK(address == &code);
	CHECK_EQ(size, 77);
	CHECK_EQ(region_map(fd, &address, &size, NULL), code);
	if (fd >= 0)
		close(fd);
}

TEST(map_and_unmap)
{
	int fd = memfd_of(3 * 4096);
	volatile char *one, *two;
	void *address;
	uint64_t size;

	/* Any multiple of the page size; what the server made of it is its business. */
	CHECK_EQ(region_map(fd, &address, &size, NULL), 0);
	one = address;
	CHECK_EQ(size, 3 * 4096);
	CHECK_EQ(region_map(fd, &address, &size, NULL), 0);
	two = address;
	/* Does not take the descriptor, and the mapping lives on without it. */
	close(fd);
	one[size - 1] = 5;
	CHECK_EQ(two[size - 1], 5);
	region_unmap((void *)(uintptr_t)one, size);
	region_unmap((void *)(uintptr_t)two, size);
	region_unmap(NULL, 0);
}

/* Opened, with `size` bytes, for reading only. */
static int
read_only_file(off_t size)
{
	char path[200];
	_test_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/file", test_directory());
	fd = CHECK_SYS(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	CHECK_SYS(ftruncate(fd, size));
	return CHECK_SYS(open(path, O_RDONLY | O_CLOEXEC));
}

TEST(map_refuses_what_is_not_memory_that_can_be_written)
{
	int ends[2], sealed = CHECK_SYS(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));

	map_fails(memfd_of(0), -EINVAL, "0 bytes");
	map_fails(memfd_of(1), -EINVAL, "1 bytes");
	map_fails(memfd_of(4095), -EINVAL, "4095 bytes");
	map_fails(memfd_of(4097), -EINVAL, "4097 bytes");
	CHECK_SYS(pipe2(ends, O_CLOEXEC));
	map_fails(ends[0], -EINVAL, "not a memory object");
	map_fails(ends[1], -EINVAL, "not a memory object");
	map_fails(CHECK_SYS(open("/dev/zero", O_RDWR | O_CLOEXEC)), -EINVAL, "not a memory object");
	map_fails(CHECK_SYS(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), -EINVAL,
		"not a memory object");
	map_fails(-1, -EBADF, "examine");
	map_fails(read_only_file(8192), -EACCES, "read-only");
	CHECK_SYS(ftruncate(sealed, 8192));
	CHECK_SYS(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE));
	map_fails(sealed, -EPERM, "read-only");
}
