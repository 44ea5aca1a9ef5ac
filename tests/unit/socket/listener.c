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

static struct listener_config
config_at(const char *name)
{
	CHECK(snprintf(path, sizeof(path), "%s/%s", test_directory(), name) < (int)sizeof(path));
	return (struct listener_config){
		.path = path, .mode = 0660, .owner = (uid_t)-1, .group = (gid_t)-1};
}

static void
open_ok(struct listener *listener, const struct listener_config *config)
{
	struct ivshmem_error error = {0};

	if (listener_bind(listener, config, &error) < 0)
		FAIL("listener_bind(), with \"%s\",", error.message);
	if (listener_listen(listener, &error) < 0)
		FAIL("listener_listen(), with \"%s\",", error.message);
}

static void
open_fails(const struct listener_config *config, int code, const char *words)
{
	struct listener listener = {.fd = 4711};
	struct ivshmem_error error = {0};
	unsigned open_fds = test_open_fds();

	CHECK_EQ(listener_bind(&listener, config, &error), code);
	CHECK_EQ(error.code, code);
	if (!strstr(error.message, words))
		FAIL("finding \"%s\" in \"%s\"", words, error.message);
	CHECK_EQ(listener.fd, 4711);
	CHECK_EQ(test_open_fds(), open_fds);
	CHECK_EQ(listener_bind(&listener, config, NULL), code);
}

static int
connect_to_path(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* A socket at the path that nobody listens on any more, or that somebody listens on. */
static int
foreign_socket(int type, bool listening)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = CHECK_SYS(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	CHECK_SYS(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
	if (listening)
		CHECK_SYS(listen(fd, 8));
	return fd;
}

static bool
exists(void)
{
	struct stat status;

	return lstat(path, &status) == 0;
}

TEST(open_connect_close)
{
	struct listener_config config = config_at("socket");
	struct listener listener;
	struct stat status;
	int client, accepted;

	open_ok(&listener, &config);
	CHECK_SYS(lstat(path, &status));
	CHECK(S_ISSOCK(status.st_mode));
	CHECK_EQ(status.st_mode & 07777, 0660);
	CHECK(fcntl(listener.fd, F_GETFD) & FD_CLOEXEC);
	CHECK(fcntl(listener.fd, F_GETFL) & O_NONBLOCK);
	client = connect_to_path();
	CHECK(client >= 0);
	accepted = CHECK_SYS(accept(listener.fd, NULL, NULL));
	close(accepted);
	close(client);
	listener_close(&listener);
	CHECK_EQ(listener.fd, -1);
	CHECK(!exists());
	listener_close(&listener);
}

TEST(bound_is_not_listening)
{
	struct listener_config config = config_at("socket");
	struct listener listener;
	int client;

	CHECK_EQ(listener_bind(&listener, &config, NULL), 0);
	CHECK(exists());
	CHECK_EQ(connect_to_path(), -ECONNREFUSED);
	/* But the path is taken. */
	open_fails(&config, -EADDRINUSE, "running");
	CHECK_EQ(listener_listen(&listener, NULL), 0);
	client = connect_to_path();
	CHECK(client >= 0);
	close(client);
	listener_close(&listener);
	CHECK(!exists());
}

TEST(listening_fails_with_a_sentence)
{
	struct listener_config config = config_at("socket");
	struct listener listener, broken;
	struct ivshmem_error error = {0};

	CHECK_EQ(listener_bind(&listener, &config, NULL), 0);
	broken = listener;
	broken.fd = CHECK_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC));
	CHECK_EQ(listener_listen(&broken, &error), -ENOTSOCK);
	CHECK(strstr(error.message, path));
	close(broken.fd);
	listener_close(&listener);
}

TEST(mode_is_what_was_asked_for_whatever_the_umask)
{
	static const mode_t modes[] = {0600, 0660, 0666, 0777, 0000, 0640};
	static const mode_t umasks[] = {0, 022, 077, 0777};

	for (size_t i = 0; i < 6; i++) {
		for (size_t j = 0; j < 4; j++) {
			struct listener_config config = config_at("socket");
			struct listener listener;
			struct stat status;

			config.mode = modes[i];
			umask(umasks[j]);
			open_ok(&listener, &config);
			/* And the umask is as it was. */
			CHECK_EQ(umask(022), umasks[j]);
			CHECK_SYS(lstat(path, &status));
			CHECK_EQ(status.st_mode & 07777, modes[i]);
			listener_close(&listener);
		}
	}
}

TEST(owner_and_group)
{
	struct listener_config config = config_at("socket");
	struct listener listener;
	struct stat status;

	if (geteuid() != 0)
		SKIP("only root gives files away");
	config.owner = 12;
	config.group = 34;
	open_ok(&listener, &config);
	CHECK_SYS(lstat(path, &status));
	CHECK_EQ(status.st_uid, 12);
	CHECK_EQ(status.st_gid, 34);
	listener_close(&listener);
	config.owner = (uid_t)-1;
	open_ok(&listener, &config);
	CHECK_SYS(lstat(path, &status));
	CHECK_EQ(status.st_uid, 0);
	CHECK_EQ(status.st_gid, 34);
	listener_close(&listener);
}

TEST(owner_that_may_not_be_set)
{
	struct listener_config config = config_at("socket");

	CHECK_SYS(chmod(test_directory(), 0777));
	if (geteuid() == 0)
		CHECK_SYS(seteuid(64079));
	config.owner = 0;
	open_fails(&config, -EPERM, "owner");
	/* What was made is removed again. */
	CHECK(!exists());
	if (getuid() == 0)
		CHECK_SYS(seteuid(0));
}

TEST(stale_socket_is_replaced)
{
	struct listener_config config = config_at("socket");
	struct listener listener;
	int client;

	close(foreign_socket(SOCK_STREAM, true));
	CHECK(exists());
	open_ok(&listener, &config);
	client = connect_to_path();
	CHECK(client >= 0);
	close(client);
	listener_close(&listener);
	CHECK(!exists());
}

TEST(stale_sockets_of_other_types_are_replaced)
{
	static const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};

	for (int i = 0; i < 2; i++) {
		struct listener_config config = config_at("socket");
		struct listener listener;

		close(foreign_socket(types[i], false));
		open_ok(&listener, &config);
		listener_close(&listener);
	}
}

TEST(live_socket_is_left_alone)
{
	struct listener_config config = config_at("socket");
	struct listener listener;
	int client;

	open_ok(&listener, &config);
	open_fails(&config, -EADDRINUSE, "running");
	/* Still there, and ours still works. */
	client = connect_to_path();
	CHECK(client >= 0);
	close(client);
	listener_close(&listener);
	CHECK(!exists());
}

TEST(live_socket_with_a_full_backlog_is_left_alone)
{
	struct listener_config config = config_at("socket");
	int fd = foreign_socket(SOCK_STREAM, false), clients[64], n = 0;

	CHECK_SYS(listen(fd, 0));
	for (; n < 64; n++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
		clients[n] =
			CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
		if (connect(clients[n], (const struct sockaddr *)&address, sizeof(address)) < 0)
			break;
	}
	CHECK(n < 64);
	open_fails(&config, -EADDRINUSE, "running");
	for (; n >= 0; n--)
		close(clients[n]);
	close(fd);
}

TEST(other_files_are_left_alone)
{
	struct listener_config config = config_at("file");
	int fd = CHECK_SYS(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));

	close(fd);
	open_fails(&config, -EEXIST, "not a socket");
	CHECK(exists());
	config = config_at("directory");
	CHECK_SYS(mkdir(path, 0700));
	open_fails(&config, -EEXIST, "not a socket");
	config = config_at("link");
	CHECK_SYS(symlink("/nowhere", path));
	open_fails(&config, -EEXIST, "not a socket");
	CHECK(exists());
}

TEST(link_to_a_socket_is_left_alone)
{
	struct listener_config config = config_at("socket");
	char target[108];

	close(foreign_socket(SOCK_STREAM, true));
	memcpy(target, path, sizeof(target));
	config = config_at("link");
	CHECK_SYS(symlink(target, path));
	open_fails(&config, -EEXIST, "not a socket");
	CHECK(exists());
}

TEST(paths_that_cannot_be)
{
	char long_path[200];
	struct listener_config config = config_at("missing/socket");

	open_fails(&config, -ENOENT, "directory must exist");
	config.path = "";
	open_fails(&config, -EINVAL, "empty");
	memset(long_path, 'p', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = 0;
	config.path = long_path;
	open_fails(&config, -ENAMETOOLONG, "107");
	long_path[108] = 0;
	open_fails(&config, -ENAMETOOLONG, "107");
}

TEST(longest_path_that_fits)
{
	struct listener_config config = config_at("x");
	struct listener listener;
	size_t length = strlen(path);
	int client;

	/* 107 bytes and the NUL. */
	memset(path + length, 'y', 107 - length);
	path[107] = 0;
	open_ok(&listener, &config);
	client = connect_to_path();
	CHECK(client >= 0);
	close(client);
	listener_close(&listener);
	CHECK(!exists());
}

TEST(path_in_the_working_directory)
{
	struct listener_config config = config_at("socket");
	struct listener listener;

	CHECK_SYS(chdir(test_directory()));
	config.path = "socket";
	open_ok(&listener, &config);
	CHECK(exists());
	open_fails(&config, -EADDRINUSE, "running");
	listener_close(&listener);
	CHECK(!exists());
}

TEST(directory_that_may_not_be_written)
{
	struct listener_config config = config_at("socket");

	CHECK_SYS(chmod(test_directory(), 0755));
	if (geteuid() == 0)
		CHECK_SYS(seteuid(64079));
	else
		CHECK_SYS(chmod(test_directory(), 0555));
	open_fails(&config, -EACCES, "bind");
	if (getuid() == 0)
		CHECK_SYS(seteuid(0));
	CHECK_SYS(chmod(test_directory(), 0755));
}

TEST(failure_for_want_of_descriptors_leaves_no_socket)
{
	struct listener_config config = config_at("socket");
	struct rlimit limit, before;
	struct listener listener;
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
	listener_close(&listener);
}

TEST(close_leaves_what_somebody_else_put_there)
{
	struct listener_config config = config_at("socket");
	struct listener listener;
	int fd;

	open_ok(&listener, &config);
	CHECK_SYS(unlink(path));
	fd = foreign_socket(SOCK_STREAM, true);
	listener_close(&listener);
	CHECK(exists());
	close(fd);
}

TEST(foreign_lock_on_the_directory_does_not_stop_us_for_ever)
{
	struct listener_config config = config_at("socket");
	struct listener listener;
	int fd = CHECK_SYS(open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	CHECK_SYS(flock(fd, LOCK_EX));
	open_ok(&listener, &config);
	listener_close(&listener);
	close(fd);
}

TEST_WITH(of_many_that_start_at_once_over_a_stale_socket_one_wins, .timeout_s = 60)
{
	enum { N = 8 };

	for (int round = 0; round < 20; round++) {
		struct listener_config config = config_at("socket");
		int go[2], results[2], winners = 0;
		pid_t pids[N];

		close(foreign_socket(SOCK_STREAM, true));
		CHECK_SYS(pipe2(go, O_CLOEXEC));
		CHECK_SYS(pipe2(results, O_CLOEXEC));
		for (int i = 0; i < N; i++) {
			pids[i] = test_fork();
			if (pids[i] == 0) {
				struct listener listener;
				int r;
				char byte;

				close(go[1]);
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
		close(go[0]);
		close(go[1]);
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
		close(results[0]);
		close(results[1]);
		CHECK_SYS(unlink(path));
	}
}
