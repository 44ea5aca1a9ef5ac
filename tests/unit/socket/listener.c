/* SPDX-License-Identifier: BSD-2-Clause */
#include <socket/listener.h>

#include <ivshmem/common.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[108];
static struct listener_config config;
static struct listener listener = {.fd = -1};

/* From now on everything is about this name in the test's folder. */
static void
use_name(const char *name)
{
	CHECK(snprintf(path, sizeof(path), "%s/%s", test_directory(), name) < (int)sizeof(path));
}

void
test_before(void)
{
	use_name("socket");
	config = (struct listener_config){
		.path = path, .mode = 0660, .owner = (uid_t)-1, .group = (gid_t)-1};
}

static bool
exists(void)
{
	struct stat status;

	return lstat(path, &status) == 0;
}

static void
open_ok(void)
{
	struct ivshmem_error error = {0};

	if (listener_bind(&listener, &config, &error) < 0)
		FAIL("listener_bind(), with \"%s\",", error.message);
	if (listener_listen(&listener, &error) < 0)
		FAIL("listener_listen(), with \"%s\",", error.message);
}

static void
open_fails(int code, const char *words)
{
	struct listener untouched = {.fd = 4711};
	struct ivshmem_error error = {0};
	unsigned open_fds = test_open_fds();

	CHECK_EQ(listener_bind(&untouched, &config, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, words);
	CHECK_EQ(untouched.fd, 4711);
	CHECK_EQ(test_open_fds(), open_fds);
	CHECK_EQ(listener_bind(&untouched, &config, NULL), code);
}

/* The socket goes with its name. */
static void
close_ok(void)
{
	listener_close(&listener);
	CHECK_EQ(listener.fd, -1);
	CHECK(!exists());
}

static struct stat
status_of_path(void)
{
	struct stat status;

	CHECK_SYS(lstat(path, &status));
	return status;
}

static struct sockaddr_un
address_of_path(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

static int
connect_to_path(int flags)
{
	struct sockaddr_un address = address_of_path();
	int fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));

	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* Somebody listens at the path. */
static void
check_connects(void)
{
	_test_close_ int fd = connect_to_path(0);

	CHECK(fd >= 0);
}

/* A socket at the path that nobody listens on any more, or that somebody listens on. */
static int
foreign_socket(int type, bool listening)
{
	struct sockaddr_un address = address_of_path();
	int fd = CHECK_SYS(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));

	CHECK_SYS(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
	if (listening)
		CHECK_SYS(listen(fd, 8));
	return fd;
}

TEST(open_connect_close)
{
	struct stat status;

	open_ok();
	status = status_of_path();
	CHECK(S_ISSOCK(status.st_mode));
	CHECK_EQ(status.st_mode & 07777, 0660);
	CHECK(fcntl(listener.fd, F_GETFD) & FD_CLOEXEC);
	CHECK(fcntl(listener.fd, F_GETFL) & O_NONBLOCK);
	check_connects();
	close(CHECK_SYS(accept(listener.fd, NULL, NULL)));
	close_ok();
	listener_close(&listener);
}

TEST(bound_is_not_listening)
{
	CHECK_EQ(listener_bind(&listener, &config, NULL), 0);
	CHECK(exists());
	CHECK_EQ(connect_to_path(0), -ECONNREFUSED);
	/* But the path is taken. */
	open_fails(-EADDRINUSE, "running");
	CHECK_EQ(listener_listen(&listener, NULL), 0);
	check_connects();
	close_ok();
}

TEST(listening_fails_with_a_sentence)
{
	struct listener broken;
	struct ivshmem_error error = {0};

	CHECK_EQ(listener_bind(&listener, &config, NULL), 0);
	broken = listener;
	broken.fd = CHECK_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC));
	CHECK_EQ(listener_listen(&broken, &error), -ENOTSOCK);
	CHECK_HAS(error.message, path);
	close(broken.fd);
	close_ok();
}

TEST(mode_is_what_was_asked_for_whatever_the_umask)
{
	static const mode_t modes[] = {0600, 0660, 0666, 0777, 0000, 0640};
	static const mode_t umasks[] = {0, 022, 077, 0777};

	for (size_t i = 0; i < 24; i++) {
		config.mode = modes[i / 4];
		umask(umasks[i % 4]);
		open_ok();
		/* And the umask is as it was. */
		CHECK_EQ(umask(022), umasks[i % 4]);
		CHECK_EQ(status_of_path().st_mode & 07777, modes[i / 4]);
		close_ok();
	}
}

TEST(owner_and_group)
{
	if (geteuid() != 0)
		SKIP("only root gives files away");
	config.group = 34;
	for (int owner = 12; owner >= -1; owner -= 13) {
		config.owner = (uid_t)owner;
		open_ok();
		CHECK_EQ(status_of_path().st_uid, owner < 0 ? 0 : owner);
		CHECK_EQ(status_of_path().st_gid, 34);
		close_ok();
	}
}

/* As somebody who is not root. */
static void
open_fails_without_root(int code, const char *words)
{
	if (geteuid() == 0)
		CHECK_SYS(seteuid(64079));
	open_fails(code, words);
	if (getuid() == 0)
		CHECK_SYS(seteuid(0));
}

TEST(owner_that_may_not_be_set)
{
	CHECK_SYS(chmod(test_directory(), 0777));
	config.owner = 0;
	open_fails_without_root(-EPERM, "owner");
	/* What was made is removed again. */
	CHECK(!exists());
}

TEST(directory_that_may_not_be_written)
{
	CHECK_SYS(chmod(test_directory(), geteuid() == 0 ? 0755 : 0555));
	open_fails_without_root(-EACCES, "bind");
	CHECK_SYS(chmod(test_directory(), 0755));
}

TEST(stale_socket_of_any_type_is_replaced)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

	for (int i = 0; i < 3; i++) {
		close(foreign_socket(types[i], types[i] == SOCK_STREAM));
		CHECK(exists());
		open_ok();
		check_connects();
		close_ok();
	}
}

TEST(live_socket_is_left_alone)
{
	open_ok();
	open_fails(-EADDRINUSE, "running");
	/* Still there, and ours still works. */
	check_connects();
	close_ok();
}

TEST(live_socket_with_a_full_backlog_is_left_alone)
{
	_test_close_ int fd = foreign_socket(SOCK_STREAM, false);
	int clients[64], n = 0;

	CHECK_SYS(listen(fd, 0));
	while (n < 64 && (clients[n] = connect_to_path(SOCK_NONBLOCK)) >= 0)
		n++;
	CHECK(n < 64);
	open_fails(-EADDRINUSE, "running");
	while (n > 0)
		close(clients[--n]);
}

TEST(other_files_are_left_alone)
{
	char target[108];

	use_name("file");
	close(CHECK_SYS(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
	open_fails(-EEXIST, "not a socket");
	CHECK(exists());
	use_name("directory");
	CHECK_SYS(mkdir(path, 0700));
	open_fails(-EEXIST, "not a socket");
	use_name("link");
	CHECK_SYS(symlink("/nowhere", path));
	open_fails(-EEXIST, "not a socket");
	CHECK(exists());
	/* Even a link to a socket that is stale. */
	use_name("socket");
	close(foreign_socket(SOCK_STREAM, true));
	memcpy(target, path, sizeof(target));
	use_name("link-to-socket");
	CHECK_SYS(symlink(target, path));
	open_fails(-EEXIST, "not a socket");
	CHECK(exists());
}

TEST(paths_that_cannot_be)
{
	char long_path[200];

	use_name("missing/socket");
	open_fails(-ENOENT, "directory must exist");
	config.path = "";
	open_fails(-EINVAL, "empty");
	memset(long_path, 'p', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = 0;
	config.path = long_path;
	open_fails(-ENAMETOOLONG, "107");
	long_path[108] = 0;
	open_fails(-ENAMETOOLONG, "107");
}

TEST(longest_path_that_fits)
{
	size_t length = strlen(path);

	/* 107 bytes and the NUL. */
	memset(path + length, 'y', 107 - length);
	path[107] = 0;
	open_ok();
	check_connects();
	close_ok();
}

TEST(path_in_the_working_directory)
{
	CHECK_SYS(chdir(test_directory()));
	config.path = "socket";
	open_ok();
	CHECK(exists());
	open_fails(-EADDRINUSE, "running");
	close_ok();
}

TEST(failure_for_want_of_descriptors_leaves_no_socket)
{
	struct rlimit limit, before;
	unsigned failures = 0;
	int first = CHECK_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC)), r;

	close(first);
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
	for (limit = before, limit.rlim_cur = (rlim_t)first;; limit.rlim_cur++, failures++) {
		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
		r = listener_bind(&listener, &config, NULL);
		CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
		if (r == 0)
			break;
		CHECK_EQ(r, -EMFILE);
		CHECK(!exists());
	}
	CHECK(failures >= 2);
	close_ok();
}

TEST(close_leaves_what_somebody_else_put_there)
{
	_test_close_ int fd = -1;

	open_ok();
	CHECK_SYS(unlink(path));
	fd = foreign_socket(SOCK_STREAM, true);
	listener_close(&listener);
	CHECK(exists());
}

TEST(foreign_lock_on_the_directory_does_not_stop_us_for_ever)
{
	_test_close_ int fd = CHECK_SYS(open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	CHECK_SYS(flock(fd, LOCK_EX));
	open_ok();
	close_ok();
}

TEST_WITH(of_many_that_start_at_once_over_a_stale_socket_one_wins, .timeout_s = 60)
{
	enum { N = 8 };

	for (int round = 0; round < 20; round++) {
		_test_close_pair_ int go[2], results[2];
		int winners = 0;
		pid_t pids[N];

		close(foreign_socket(SOCK_STREAM, true));
		CHECK_SYS(pipe2(go, O_CLOEXEC));
		CHECK_SYS(pipe2(results, O_CLOEXEC));
		for (int i = 0; i < N; i++) {
			pids[i] = test_fork();
			if (pids[i] == 0) {
				int r;
				char byte;

				test_close(&go[1]);
				CHECK_EQ(read(go[0], &byte, 1), 0);
				r = listener_bind(&listener, &config, NULL);
				CHECK(r == 0 || r == -EADDRINUSE);
				CHECK_EQ(write(results[1], &r, sizeof(r)), sizeof(r));
				/* Stay until all have tried. */
				while (r == 0)
					pause();
				_exit(0);
			}
		}
		test_close(&go[1]);
		for (int i = 0; i < N; i++) {
			int r;

			CHECK_EQ(CHECK_SYS(read(results[0], &r, sizeof(r))), sizeof(r));
			winners += r == 0;
		}
		CHECK_EQ(winners, 1);
		for (int i = 0; i < N; i++) {
			kill(pids[i], SIGKILL);
			CHECK_SYS(waitpid(pids[i], NULL, 0));
		}
		CHECK_SYS(unlink(path));
	}
}
