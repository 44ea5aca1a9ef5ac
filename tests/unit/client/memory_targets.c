/* SPDX-License-Identifier: BSD-2-Clause */

/* The targets that are memory alone, shm:NAME and file:PATH, through the library's front door. */

#include <ivshmem/client.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 65536

static int
make_object(void)
{
	int fd = CHECK_SYS(shm_open(test_object(), O_CREAT | O_EXCL | O_RDWR, 0600));
	CHECK_SYS(ftruncate(fd, SIZE));
	return fd;
}

static const char *
path_of(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", test_directory(), name);
	return path;
}

/* A file of this size, with its first bytes set; its path. */
static const char *
make_file(const char *name, off_t size)
{
	const char *path = path_of(name);
	int fd = CHECK_SYS(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));

	CHECK_SYS(ftruncate(fd, size));
	if (size >= 5)
		CHECK_EQ(pwrite(fd, "hello", 5, 0), 5);
	close(fd);
	return path;
}

static void
check_bytes(const char *path, const char *bytes, off_t offset)
{
	char buffer[64];
	size_t length = strlen(bytes);
	_test_close_ int fd = CHECK_SYS(open(path, O_RDONLY | O_CLOEXEC));

	CHECK_EQ(pread(fd, buffer, length, offset), (ssize_t)length);
	CHECK_MEM(buffer, bytes, length);
}

static struct ivshmem_client *
attach(const char *scheme, const char *name, const char *suffix)
{
	struct ivshmem_client *client = NULL;
	struct ivshmem_error error = {.message = ""};
	char target[8192];

	snprintf(target, sizeof(target), "%s%s%s", scheme, name, suffix);
	if (ivshmem_attach(&client, target, NULL, &error) != 0)
		FAIL("%s: %s", target, error.message);
	return client;
}

/* It must fail with `code`, in a sentence with all of these words in it. */
static void
refuse(const char *scheme, const char *name, const char *suffix, int code, const char *word,
	const char *remedy)
{
	struct ivshmem_client *client = (void *)&client;
	struct ivshmem_error error = {.message = ""};
	char target[8192];

	snprintf(target, sizeof(target), "%s%s%s", scheme, name, suffix);
	fprintf(stderr, "%s\n", target);
	CHECK_EQ(ivshmem_attach(&client, target, NULL, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, word);
	CHECK_HAS(error.message, remedy);
	CHECK(client == (void *)&client);
}

TEST(file_is_read_and_written)
{
	const char *path = make_file("memory", SIZE);
	struct ivshmem_client *client = attach("file:", path, "");
	char buffer[5];

	CHECK_STR(ivshmem_backend(client), "file");
	CHECK_STR(ivshmem_doorbell(client), "none");
	CHECK_EQ(ivshmem_size(client), SIZE);
	CHECK_EQ(ivshmem_memory_mapping(client), IVSHMEM_MAPPING_WRITE_BACK);
	CHECK(!ivshmem_read_only(client));
	CHECK_EQ(ivshmem_read(client, 0, buffer, 5), 0);
	CHECK_MEM(buffer, "hello", 5);
	CHECK_EQ(ivshmem_write(client, SIZE - 5, "there", 5), 0);
	CHECK_EQ(ivshmem_write(client, SIZE - 4, "there", 5), -ERANGE);
	check_bytes(path, "there", SIZE - 5);
	CHECK(ivshmem_detach(client) == NULL);
	/* It is not ours to remove. */
	CHECK_SYS(access(path, F_OK));
}

TEST(shm_object_is_read_and_written)
{
	struct ivshmem_client *client;
	char slash[80], path[80];

	close(make_object());
	snprintf(slash, sizeof(slash), "/%s", test_object());
	snprintf(path, sizeof(path), "/dev/shm/%s", test_object());

	client = attach("shm:", test_object(), "");
	CHECK_STR(ivshmem_backend(client), "shm");
	CHECK_EQ(ivshmem_write(client, 0, "one", 3), 0);
	ivshmem_detach(client);
	check_bytes(path, "one", 0);
	/* As shm_open() takes names, too. */
	client = attach("shm:", slash, ",ro");
	CHECK(ivshmem_read_only(client));
	ivshmem_detach(client);
	CHECK_SYS(shm_unlink(test_object()));
	refuse("shm:", test_object(), "", -ENOENT, path, "start what makes it");
}

TEST(there_is_nobody)
{
	struct ivshmem_client *client = attach("file:", make_file("m", SIZE), "");
	uint16_t id;

	CHECK(!ivshmem_has_id(client));
	CHECK_EQ(ivshmem_id(client), 0);
	CHECK_EQ(ivshmem_vectors(client), 0);
	CHECK_EQ(ivshmem_group_vectors(client), -EOPNOTSUPP);
	CHECK_EQ(ivshmem_peers(client, &id, 1), -EOPNOTSUPP);
	CHECK_EQ(ivshmem_peer_vectors(client, 0), -EOPNOTSUPP);
	CHECK_EQ(ivshmem_peer_pending(client, 0, 0), -EOPNOTSUPP);
	CHECK_EQ(ivshmem_ring(client, 0, 0), -EOPNOTSUPP);
	CHECK_EQ(ivshmem_wait(client, IVSHMEM_ANY_VECTOR, -1), -EOPNOTSUPP);
	CHECK(ivshmem_fd(client) >= 0);
	CHECK_EQ(ivshmem_dispatch(client, 0), 0);
	ivshmem_detach(client);
}

/* What was asked for is enforced by the processor, not only by ivshmem_write(). */
TEST(read_only)
{
	const char *path = make_file("m", SIZE);
	struct ivshmem_client *client;
	char buffer[5];
	int status;
	pid_t pid;

	CHECK_SYS(chmod(path, 0400));
	client = attach("file:", path, ",ro");
	CHECK(ivshmem_read_only(client));
	CHECK_EQ(ivshmem_read(client, 0, buffer, 5), 0);
	CHECK_MEM(buffer, "hello", 5);
	CHECK_EQ(ivshmem_write(client, 0, "x", 1), -EACCES);
	CHECK_EQ(ivshmem_write(client, SIZE, "x", 1), -EACCES);
	pid = test_fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)ivshmem_memory(client) = 'x';
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	check_bytes(path, "hello", 0);
	ivshmem_detach(client);
}

/* A name may end as the suffix does: then another one stands behind it. */
TEST(names_that_end_like_a_suffix)
{
	static const char *const names[] = {"a,ro", "b,rw"};

	for (size_t i = 0; i < 2; i++) {
		const char *path = make_file(names[i], SIZE);
		struct ivshmem_client *client = attach("file:", path, ",rw");

		CHECK(!ivshmem_read_only(client));
		ivshmem_detach(client);
		client = attach("file:", path, ",ro");
		CHECK(ivshmem_read_only(client));
		ivshmem_detach(client);
		refuse("file:", path, "", -ENOENT, names[i][0] == 'a' ? "/a'" : "/b'",
			"start what makes it");
	}
}

TEST(what_is_no_memory)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	refuse("file:", make_file("empty", 0), "", -ENODATA, "/empty' has a size of 0",
		"start what gives it its size");
	refuse("file:", make_file("odd", 4097), "", -EINVAL, "/odd' has 4097 bytes", "page size");
	refuse("file:", test_directory(), "", -EINVAL, test_directory(), "is a folder");
	refuse("file:", test_directory(), ",ro", -EINVAL, test_directory(), "is a folder");
	refuse("file:", "/dev/null", "", -EINVAL, "/dev/null", "neither");
	/* Nobody waits for the other end of a pipe. */
	CHECK_SYS(mkfifo(path_of("pipe"), 0600));
	refuse("file:", path_of("pipe"), ",ro", -EINVAL, "/pipe'", "neither");
	refuse("file:", path_of("pipe"), "", -EINVAL, "/pipe'", "neither");

	fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CHECK(strlen(path_of("socket")) < sizeof(address.sun_path));
	strcpy(address.sun_path, path_of("socket"));
	CHECK_SYS(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
	refuse("file:", path_of("socket"), "", -EINVAL, "/socket'", "unix:PATH");
	close(fd);
}

TEST(what_is_no_target)
{
	static const struct ivshmem_options options = {
		.struct_size = sizeof(options), .backend = "sysfs"};
	struct ivshmem_client *client;
	struct ivshmem_error error;
	char longest[5000] = "";

	refuse("shm:", "", "", -EINVAL, "names no memory", "shm:NAME");
	refuse("file:", ",ro", "", -EINVAL, "names no memory", "file:PATH");
	refuse("shm:", "a/b", "", -EINVAL, "a/b", "without slashes");
	refuse("file:", "/nowhere/at/all", "", -ENOENT, "/nowhere/at/all", "start what makes it");
	memset(longest, 'x', sizeof(longest) - 1);
	refuse("file:", longest, "", -ENAMETOOLONG, "xxx", "too long");
	CHECK_EQ(ivshmem_attach(&client, "shm:x", &options, &error), -EINVAL);
	CHECK(strstr(error.message, "shm:x has no back end to choose"));
}

/* As a user that nobody else is, who is not root and has files of their own only in /dev/shm. */
TEST(no_permission)
{
	int fd;

	test_drop_root();
	fd = make_object();
	CHECK_SYS(fchmod(fd, 0400));
	close(fd);
	refuse("shm:", test_object(), "", -EACCES, test_object(), ",ro");
	ivshmem_detach(attach("shm:", test_object(), ",ro"));
	CHECK_SYS(shm_unlink(test_object()));
	fd = make_object();
	CHECK_SYS(fchmod(fd, 0));
	close(fd);
	refuse("shm:", test_object(), "", -EACCES, "no permission to open", "chmod");
	refuse("shm:", test_object(), ",ro", -EACCES, test_object(), "chmod");
}
