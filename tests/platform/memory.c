/* SPDX-License-Identifier: BSD-2-Clause */

/* Sealed memory: W7. */

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB  (UINT64_C(1) << 20)
#define SIZE (4 * MIB)

static int
memory_new(uint64_t size, unsigned flags, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0)
		return -1;
	CHECK_SYS(ftruncate(fd, (off_t)size));
	CHECK_SYS(fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

/* As the server seals it. */
static int
sealed_memory(void)
{
	return CHECK_SYS(memory_new(SIZE, 0, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
}

/* In huge pages; skips the test if there are none. */
static int
huge_page_memory(uint64_t size, int seals)
{
	int fd = memory_new(size, MFD_HUGETLB | MFD_HUGE_2MB, seals);

	if (fd < 0)
		SKIP("memfd_create(MFD_HUGETLB): %s", strerror(errno));
	return fd;
}

TEST(sealed_memory_cannot_change_its_size)
{
	_test_close_ int fd = sealed_memory();
	struct stat status;

	CHECK_ERRNO(ftruncate(fd, 0), EPERM);
	CHECK_ERRNO(ftruncate(fd, (off_t)(2 * SIZE)), EPERM);
	CHECK_ERRNO(fallocate(fd, 0, 0, (off_t)(2 * SIZE)), EPERM);
	/* The same size is no change. */
	CHECK_SYS(ftruncate(fd, (off_t)SIZE));
	CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
	CHECK_SYS(fstat(fd, &status));
	CHECK_EQ(status.st_size, SIZE);
}

TEST(sealed_memory_can_be_mapped_and_written)
{
	_test_close_ int fd = sealed_memory();
	char *one = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *two = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(one != MAP_FAILED && two != MAP_FAILED);
	CHECK_EQ(two[SIZE - 1], 0);
	one[SIZE - 1] = 7;
	CHECK_EQ(two[SIZE - 1], 7);
	munmap(one, SIZE);
	munmap(two, SIZE);
}

TEST(touching_truncated_memory_kills)
{
	int fd = CHECK_SYS(memory_new(SIZE, 0, 0)), status;
	pid_t pid = test_fork();

	if (pid == 0) {
		volatile char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		/* A sanitizer would report the signal and exit. */
		signal(SIGBUS, SIG_DFL);
		memory[0] = 1;
		CHECK_SYS(ftruncate(fd, 0));
		memory[0] = 2;
		_exit(0);
	}
	CHECK_SYS(waitpid(pid, &status, 0));
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGBUS);
	close(fd);
}

TEST(holes_punched_into_sealed_memory_read_as_zero)
{
	_test_close_ int fd = sealed_memory();
	volatile char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	/* A peer can clear the memory so, as it can by writing to it, but nobody dies. */
	memory[MIB] = 1;
	CHECK_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)SIZE));
	CHECK_EQ(memory[MIB], 0);
	munmap((void *)(uintptr_t)memory, SIZE);
}

TEST(huge_page_memory_can_be_sealed)
{
	_test_close_ int fd = huge_page_memory(2 * MIB, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);

	CHECK_ERRNO(ftruncate(fd, 0), EPERM);
	CHECK_ERRNO(ftruncate(fd, (off_t)(4 * MIB)), EPERM);
}

TEST(huge_page_memory_without_pages_is_refused_when_mapped)
{
	/* More than any machine has: the refusal is an error of mmap(), not a death later. */
	uint64_t size = UINT64_C(1) << 44;
	_test_close_ int fd = huge_page_memory(size, F_SEAL_SHRINK | F_SEAL_GROW);

	CHECK(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK_EQ(errno, ENOMEM);
}

TEST(huge_page_memory_is_sized_in_huge_pages)
{
	_test_close_ int fd = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

	if (fd < 0)
		SKIP("memfd_create(MFD_HUGETLB): %s", strerror(errno));
	CHECK_ERRNO(ftruncate(fd, 4096), EINVAL);
	CHECK_SYS(ftruncate(fd, (off_t)(2 * MIB)));
}

TEST(five_gib_of_memory_cost_nothing_until_touched)
{
	uint64_t size = UINT64_C(5) << 30;
	_test_close_ int fd = CHECK_SYS(memory_new(size, 0, F_SEAL_SHRINK | F_SEAL_GROW));
	struct stat status;

	CHECK_SYS(fstat(fd, &status));
	CHECK_EQ(status.st_size, size);
	CHECK_EQ(status.st_blocks, 0);
}
