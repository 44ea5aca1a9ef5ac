/* SPDX-License-Identifier: BSD-2-Clause */

/* Membership without a server: a shared memory with a name. */

#include <member_stage.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[4096];

void
test_before(void)
{
	snprintf(path, sizeof(path), "%s/memory", test_directory());
	stage_open();
}

void
test_after(void)
{
	stage_close();
}

static void
leave(void)
{
	stage_drop_device();
	stage.member = member_close(stage.member);
}

static void
open_ok(const struct member_config *config)
{
	struct ivshmem_error error = {0};

	if (member_open(&stage.member, stage.loop, config, &stage.log, &error) < 0)
		FAIL("%s", error.message);
	CHECK(!member_has_server(stage.member));
	CHECK_EQ(member_id(stage.member), 0);
	CHECK_EQ(member_peers(stage.member, NULL, 0), 0);
}

static void
open_fails(const struct member_config *config, int code, const char *words, const char *more)
{
	unsigned before = test_open_fds();
	struct ivshmem_error error = {0};

	CHECK_EQ(member_open(&stage.member, stage.loop, config, &stage.log, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, words);
	CHECK_HAS(error.message, more);
	CHECK_EQ(test_open_fds(), before);
	CHECK(!stage.member);
}

static int
object_open(uint64_t size)
{
	int fd = CHECK_SYS(shm_open(test_object(), O_CREAT | O_EXCL | O_RDWR, 0600));

	CHECK_SYS(ftruncate(fd, (off_t)size));
	return fd;
}

TEST(behaviour_35_missing_object_is_created_and_stays)
{
	const struct member_config config = {
		.shm = test_object(), .size = STAGE_MEMORY, .late = true};
	struct stat st;
	int fd;

	open_ok(&config);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY);
	for (size_t i = 0; i < STAGE_MEMORY; i++)
		CHECK_EQ(((const char *)member_memory(stage.member))[i], 0);
	stage_attach(0, 1);
	CHECK_EQ(stage_position(), 0);
	*(char *)member_memory(stage.member) = 'x';
	leave();
	CHECK_EQ(stage.n_warnings, 0);
	fd = CHECK_SYS(shm_open(test_object(), O_RDWR, 0));
	CHECK_SYS(fstat(fd, &st));
	CHECK_EQ(st.st_size, STAGE_MEMORY);
	CHECK_EQ(st.st_mode & 07777, 0600);
	close(fd);
}

TEST(behaviour_36_larger_and_smaller_objects)
{
	struct member_config config = {.shm = test_object(), .size = STAGE_MEMORY};
	struct stat st;
	_test_close_ int fd = object_open(STAGE_MEMORY * 4);

	CHECK_EQ(pwrite(fd, "x", 1, 100), 1);
	open_ok(&config);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY * 4);
	CHECK_EQ(((const char *)member_memory(stage.member))[100], 'x');
	stage.member = member_close(stage.member);
	config.size = STAGE_MEMORY * 8;
	open_fails(&config, -EINVAL, "4 MiB", "8 MiB");
	CHECK_SYS(fstat(fd, &st));
	CHECK_EQ(st.st_size, STAGE_MEMORY * 4);
	config.size = 0;
	open_ok(&config);
	CHECK_EQ(member_memory_size(stage.member), STAGE_MEMORY * 4);
}

TEST(missing_object_without_size)
{
	const struct member_config config = {.shm = test_object()};

	open_fails(&config, -ENOENT, test_object(), "size");
}

TEST(behaviour_33_two_devices_on_one_object)
{
	const struct member_config config = {.shm = test_object(), .size = STAGE_MEMORY};
	struct member *other = NULL;
	char *a, *b;

	open_ok(&config);
	CHECK_EQ(member_open(&other, stage.loop, &config, NULL, NULL), 0);
	a = member_memory(stage.member);
	b = member_memory(other);
	CHECK(a != b);
	a[0] = 'x';
	b[STAGE_MEMORY - 1] = 'y';
	CHECK_EQ(b[0], 'x');
	CHECK_EQ(a[STAGE_MEMORY - 1], 'y');
	member_close(other);
}

TEST(file_of_the_host)
{
	const struct member_config config = {.file = path, .size = STAGE_MEMORY};
	char byte;

	open_ok(&config);
	stage_attach(1, 1);
	stage_place_bars();
	CHECK_EQ(stage.n_mapped, 1);
	ivshmem_device_write(stage.device, 2, STAGE_MEMORY - 1, 1, 'z');
	CHECK_EQ(pread(member_memory_fd(stage.member), &byte, 1, (off_t)STAGE_MEMORY - 1), 1);
	CHECK_EQ(byte, 'z');
	/* There is nobody to be rung. */
	stage_doorbell(0);
	CHECK(!member_take_ring(stage.member, 0));
	leave();
	CHECK_SYS(access(path, F_OK));
}

TEST(file_that_others_may_write_is_warned_of)
{
	const struct member_config config = {.file = path};
	int fd;

	fd = CHECK_SYS(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	CHECK_SYS(ftruncate(fd, (off_t)STAGE_MEMORY));
	open_ok(&config);
	CHECK_EQ(stage.n_warnings, 0);
	stage.member = member_close(stage.member);
	CHECK_SYS(fchmod(fd, 0606));
	open_ok(&config);
	CHECK_EQ(stage.n_warnings, 1);
	CHECK_HAS(stage.warning, path);
	CHECK_HAS(stage.warning, "0606");
	close(fd);
}

TEST(file_without_room_is_warned_of)
{
	const struct member_config config = {.file = path, .size = UINT64_C(1) << 42};

	snprintf(path, sizeof(path), "/dev/shm/%s", test_object());
	open_ok(&config);
	CHECK_EQ(stage.n_warnings, 1);
	CHECK_HAS(stage.warning, "SIGBUS");
}

TEST(sealing_is_told)
{
	const struct member_config config = stage_config(false);

	for (int sealed = 1; sealed >= 0; sealed--) {
		const struct wire_message messages[] = {{0, -1}, {5, -1},
			{-1, sealed ? stage_memory(STAGE_MEMORY) : object_open(STAGE_MEMORY)}};

		CHECK_EQ(stage_join(&config, messages, 3, NULL), 0);
		CHECK_EQ(stage.n_warnings, !sealed);
		CHECK_HAS(sealed ? stage.info : stage.warning, sealed ? "1 MiB" : "not sealed");
		stage.member = member_close(stage.member);
		test_close(&stage.server);
	}
}
