/* SPDX-License-Identifier: BSD-2-Clause */

/* Shared memory that has a name and outlives us: region_open_lasting(). */

#include <region/region.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

static const char *
path_of(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", test_directory(), name);
	return path;
}

static struct region_config
shm_config(uint64_t size)
{
	return (struct region_config){
		.kind = REGION_SHM, .name = test_object(), .size = size, .mode = 0600};
}

static struct region_config
file_config(const char *path, uint64_t size)
{
	return (struct region_config){
		.kind = REGION_FILE, .name = path, .size = size, .mode = 0600};
}

static struct region region = {.fd = -1};
static struct ivshmem_error error;

void
test_after(void)
{
	region_close(&region);
}

static void
open_ok(struct region_config config)
{
	int r;

	error = (struct ivshmem_error){0};
	r = region_open_lasting(&region, &config, &error);
	if (r < 0)
		FAIL("region_open_lasting() = %d, \"%s\"", r, error.message);
	CHECK_EQ(error.code, 0);
	CHECK(fcntl(region.fd, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(fcntl(region.fd, F_GETFL) & O_ACCMODE, O_RDWR);
	CHECK(!region.created);
}

static void
open_fails(struct region_config config, int code, const char *words)
{
	unsigned open_fds = test_open_fds();

	error = (struct ivshmem_error){0};
	CHECK_EQ(region_open_lasting(&region, &config, &error), code);
	CHECK_EQ(error.code, code);
	CHECK(strlen(error.message) > 10);
	CHECK(error.message[strlen(error.message) - 1] != '.');
	CHECK_HAS(error.message, words);
	CHECK_EQ(region.fd, -1);
	CHECK_EQ(test_open_fds(), open_fds);
	CHECK_EQ(region_open_lasting(&region, &config, NULL), code);
}

static struct stat
stat_of(const char *path)
{
	struct stat st;

	CHECK_SYS(stat(path, &st));
	return st;
}

static void
make_file(const char *path, uint64_t size, mode_t mode)
{
	_test_close_ int fd = CHECK_SYS(open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));

	CHECK_SYS(fchmod(fd, mode));
	CHECK_SYS(ftruncate(fd, (off_t)size));
}

/* ---- files ---------------------------------------------------------------------------------- */

TEST(file_is_made_with_exactly_its_size_and_stays)
{
	const char *path = path_of("memory");
	struct stat st;
	mode_t mask = umask(0777);

	/* No power of two: what is asked for is what there is. */
	open_ok(file_config(path, 12 * KIB));
	umask(mask);
	CHECK_EQ(region.size, 12 * KIB);
	CHECK_EQ(region.mode, 0600);
	CHECK_EQ(region.owner, geteuid());
	CHECK(!region.sealed);
	CHECK(region.room >= region.size);
	region_close(&region);
	CHECK_EQ(region.fd, -1);
	st = stat_of(path);
	CHECK_EQ(st.st_size, 12 * KIB);
	CHECK_EQ(st.st_mode, S_IFREG | 0600);
	CHECK_EQ(st.st_nlink, 1);
}

TEST(file_that_is_made_reads_as_zero)
{
	void *memory;
	uint64_t size;

	open_ok(file_config(path_of("memory"), MIB));
	CHECK_EQ(region_map(region.fd, &memory, &size, NULL), 0);
	CHECK_EQ(size, MIB);
	for (uint64_t i = 0; i < size; i++)
		CHECK_EQ(((const char *)memory)[i], 0);
	region_unmap(memory, size);
}

TEST(file_in_the_current_directory)
{
	CHECK_SYS(chdir(test_directory()));
	open_ok(file_config("here", MIB));
	CHECK_EQ(stat_of(path_of("here")).st_size, MIB);
}

TEST(file_that_exists_keeps_content_size_and_mode)
{
	static const struct {
		const char *name;
		uint64_t size, wanted;
	} files[] = {
		{"larger", 5 * MIB, MIB},
		{"of whatever size", 3 * MIB, 0},
		{"just-right", MIB, MIB},
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const char *path = path_of(files[i].name);
		char byte = 0;
		int fd;

		fprintf(stderr, "%s\n", path);
		make_file(path, files[i].size, 0660);
		fd = CHECK_SYS(open(path, O_RDWR | O_CLOEXEC));
		CHECK_EQ(pwrite(fd, "x", 1, 4711), 1);
		close(fd);
		open_ok(file_config(path, files[i].wanted));
		CHECK_EQ(region.size, files[i].size);
		CHECK_EQ(region.mode, 0660);
		CHECK_EQ(pread(region.fd, &byte, 1, 4711), 1);
		CHECK_EQ(byte, 'x');
		region_close(&region);
		CHECK_EQ(stat_of(path).st_size, files[i].size);
		CHECK_EQ(stat_of(path).st_mode & 07777, 0660);
	}
}

TEST(file_that_is_smaller_is_refused_with_both_sizes)
{
	const char *path = path_of("memory");

	make_file(path, MIB, 0600);
	open_fails(file_config(path, 4 * MIB), -EINVAL, "1 MiB");
	CHECK_HAS(error.message, "4 MiB");
	CHECK_HAS(error.message, path);
	CHECK_EQ(stat_of(path).st_size, MIB);
}

TEST(file_that_is_missing_and_has_no_size)
{
	open_fails(file_config(path_of("memory"), 0), -ENOENT, "give a size");
	CHECK_EQ(access(path_of("memory"), F_OK), -1);
}

TEST(file_that_is_none)
{
	char name[5000];

	open_fails(file_config(path_of("nowhere/memory"), MIB), -ENOENT, "");
	open_fails(file_config(test_directory(), MIB), -EISDIR, test_directory());
	CHECK_SYS(mkfifo(path_of("fifo"), 0600));
	open_fails(file_config(path_of("fifo"), 0), -EINVAL, "");
	open_fails(
		file_config("/dev/null", 0), -EINVAL, "neither shared memory nor an ordinary file");
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	open_fails(file_config(name, MIB), -ENAMETOOLONG, "");
}

TEST(file_behind_a_link_that_leads_nowhere)
{
	CHECK_SYS(symlink("nowhere", path_of("link")));
	open_fails(file_config(path_of("link"), MIB), -EEXIST, "");
}

TEST(file_that_may_not_be_written)
{
	test_drop_root();
	open_fails(file_config("/proc/version", 0), -EACCES, "");
}

TEST(file_that_cannot_have_its_size_leaves_nothing)
{
	const struct rlimit limit = {MIB, MIB};
	const char *path = path_of("memory");

	signal(SIGXFSZ, SIG_IGN);
	CHECK_SYS(setrlimit(RLIMIT_FSIZE, &limit));
	open_fails(file_config(path, 2 * MIB), -EFBIG, "");
	CHECK_EQ(access(path, F_OK), -1);
}

/* Whoever finds the name finds the memory with its size. */
TEST(many_make_it_at_the_same_time)
{
	enum { PROCESSES = 8, ROUNDS = 50 };
	int go[2];
	pid_t children[PROCESSES];

	for (int round = 0; round < ROUNDS; round++) {
		const char *path = path_of("memory");

		CHECK_SYS(pipe2(go, O_CLOEXEC));
		for (int i = 0; i < PROCESSES; i++) {
			children[i] = test_fork();
			if (children[i] == 0) {
				char byte;

				close(go[1]);
				CHECK_EQ(read(go[0], &byte, 1), 0);
				close(go[0]);
				open_ok(file_config(path, MIB));
				CHECK_EQ(region.size, MIB);
				region_close(&region);
				_exit(0);
			}
		}
		close(go[0]);
		close(go[1]);
		for (int i = 0; i < PROCESSES; i++)
			test_join(children[i]);
		CHECK_SYS(unlink(path));
	}
}

/* A file without name cannot get one without /proc. */
TEST(file_is_made_without_proc)
{
	const char *path = path_of("memory");
	pid_t child;

	if (geteuid() != 0)
		SKIP("only root can take /proc away");
	child = test_fork();
	if (child == 0) {
		struct region_config config = file_config(path, MIB);

		if (unshare(CLONE_NEWNS) < 0 ||
			mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
			mount("none", "/proc", "tmpfs", 0, NULL) < 0)
			_exit(77);
		CHECK_EQ(region_open_lasting(&region, &config, NULL), 0);
		CHECK_EQ(region.size, MIB);
		region_close(&region);
		config.name = path_of("huge");
		config.size = UINT64_C(1) << 63;
		CHECK(region_open_lasting(&region, &config, NULL) < 0);
		CHECK_EQ(access(path_of("huge"), F_OK), -1);
		_exit(0);
	} else {
		int status;

		CHECK_EQ(waitpid(child, &status, 0), child);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			SKIP("mounting is not permitted");
		CHECK_EQ(status, 0);
	}
	CHECK_EQ(stat_of(path).st_size, MIB);
	CHECK_EQ(stat_of(path).st_mode, S_IFREG | 0600);
}

/* ---- POSIX shared memory -------------------------------------------------------------------- */

TEST(object_is_made_and_stays)
{
	open_ok(shm_config(MIB));
	CHECK_EQ(region.size, MIB);
	CHECK_EQ(region.mode, 0600);
	CHECK_EQ(region.name[0], '/');
	CHECK_STR(region.name + 1, test_object());
	region_close(&region);
	close(CHECK_SYS(shm_open(test_object(), O_RDWR, 0)));
}

TEST(object_that_exists)
{
	_test_close_ int fd = CHECK_SYS(shm_open(test_object(), O_CREAT | O_EXCL | O_RDWR, 0600));

	CHECK_SYS(ftruncate(fd, (off_t)(2 * MIB)));
	open_ok(shm_config(MIB));
	CHECK_EQ(region.size, 2 * MIB);
	region_close(&region);
	open_ok(shm_config(0));
	CHECK_EQ(region.size, 2 * MIB);
	region_close(&region);
	open_fails(shm_config(4 * MIB), -EINVAL, "2 MiB");
	CHECK_HAS(error.message, "4 MiB");
	CHECK_HAS(error.message, test_object());
}

TEST(object_is_not_looked_for_behind_a_link)
{
	char path[128];

	snprintf(path, sizeof(path), "/dev/shm/%s", test_object());
	make_file(path_of("memory"), MIB, 0600);
	CHECK_SYS(symlink(path_of("memory"), path));
	open_fails(shm_config(MIB), -ELOOP, "");
}

TEST(object_names_that_are_none)
{
	static const char *const names[] = {"", "/", "a/b", "//a", "../a"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct region_config config = shm_config(MIB);

		config.name = names[i];
		open_fails(config, -EINVAL, "");
	}
}

/* ---- kinds and seals ------------------------------------------------------------------------ */

TEST(kinds_that_do_not_last)
{
	const struct region_config file = {.kind = REGION_FILE, .name = "x", .size = MIB};

	open_fails((struct region_config){.kind = REGION_MEMFD, .size = MIB}, -EINVAL, "");
	open_fails((struct region_config){.kind = REGION_DIRECTORY, .name = "/", .size = MIB},
		-EINVAL, "");
	error = (struct ivshmem_error){0};
	CHECK_EQ(region_open(&region, &file, &error), -EINVAL);
	CHECK_EQ(error.code, -EINVAL);
}

TEST(seals_are_seen)
{
	_test_close_ int fd = CHECK_SYS(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	_test_close_ int null = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));

	CHECK(!region_is_sealed(fd));
	CHECK_SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	CHECK(!region_is_sealed(fd));
	CHECK_SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	CHECK(region_is_sealed(fd));
	CHECK(!region_is_sealed(null));
}

TEST(file_tells_how_much_room_there_is)
{
	struct statvfs fs;
	uint64_t available;

	open_ok(file_config(path_of("memory"), UINT64_C(1) << 42));
	CHECK_SYS(fstatvfs(region.fd, &fs));
	available = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (fs.f_blocks == 0 || available >= region.size)
		SKIP("there is no limit, or more than 4 TiB");
	/* Others use the file system, too. */
	CHECK(region.room < region.size);
}
