/* SPDX-License-Identifier: BSD-2-Clause */
#include <common/supervisor.h>

#include <ivshmem/common.h>

#include <fdpass.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void
pass(const char *count, const char *names)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	CHECK_SYS(setenv("LISTEN_PID", pid, 1));
	CHECK_SYS(setenv("LISTEN_FDS", count, 1));
	if (names)
		CHECK_SYS(setenv("LISTEN_FDNAMES", names, 1));
	else
		CHECK_SYS(unsetenv("LISTEN_FDNAMES"));
}

static void
refused(int code, const char *words)
{
	struct supervisor_socket sockets[SUPERVISOR_SOCKETS_MAX] = {{.fd = 4711}};
	struct ivshmem_error error = {0};

	CHECK_EQ(supervisor_sockets(sockets, &error), code);
	CHECK_EQ(error.code, code);
	if (!strstr(error.message, words))
		FAIL("finding \"%s\" in \"%s\"", words, error.message);
	CHECK_EQ(sockets[0].fd, 4711);
	CHECK_EQ(supervisor_sockets(sockets, NULL), code);
}

/* Descriptors from 3 on, whatever the harness has there. */
static void
open_from_three(int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(CHECK_SYS(dup2(0, 3 + i)), 3 + i);
}

/* In a child: it may lose the descriptors of the harness. */
static void
in_child(void (*run)(void))
{
	pid_t pid = test_fork();

	if (pid == 0) {
		run();
		_exit(0);
	}
	test_join(pid);
}

static void
three_sockets(void)
{
	struct supervisor_socket sockets[SUPERVISOR_SOCKETS_MAX];

	open_from_three(3);
	pass("3", "first::a-name-that-is-much-longer-than-names-are");
	CHECK_EQ(supervisor_sockets(sockets, NULL), 3);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(sockets[i].fd, 3 + i);
		CHECK_EQ(fcntl(3 + i, F_GETFD), FD_CLOEXEC);
	}
	CHECK_STR(sockets[0].name, "first");
	CHECK_STR(sockets[1].name, "");
	CHECK_STR(sockets[2].name, "a-name-that-is-much-longer-than");
	/* Fewer names than sockets, and none. */
	pass("2", "one");
	CHECK_EQ(supervisor_sockets(sockets, NULL), 2);
	CHECK_STR(sockets[0].name, "one");
	CHECK_STR(sockets[1].name, "");
	pass("1", NULL);
	CHECK_EQ(supervisor_sockets(sockets, NULL), 1);
	CHECK_STR(sockets[0].name, "");
	pass("0", NULL);
	CHECK_EQ(supervisor_sockets(sockets, NULL), 0);
	close(4);
	pass("2", NULL);
	refused(-EBADF, "descriptor 4 cannot be used");
}

TEST(sockets_with_their_names)
{
	in_child(three_sockets);
}

TEST(sockets_for_somebody_else)
{
	struct supervisor_socket sockets[SUPERVISOR_SOCKETS_MAX] = {{.fd = 4711}};

	pass("1", NULL);
	CHECK_SYS(setenv("LISTEN_PID", "1", 1));
	CHECK_EQ(supervisor_sockets(sockets, NULL), 0);
	CHECK_SYS(unsetenv("LISTEN_PID"));
	CHECK_EQ(supervisor_sockets(sockets, NULL), 0);
	CHECK_EQ(sockets[0].fd, 4711);
}

TEST(sockets_that_make_no_sense)
{
	pass("-1", NULL);
	refused(-EINVAL, "LISTEN_FDS");
	pass("many", NULL);
	refused(-EINVAL, "LISTEN_FDS");
	pass("261", NULL);
	refused(-E2BIG, "1 sockets");
	pass("4294967296", NULL);
	refused(-EINVAL, "LISTEN_FDS");
	CHECK_SYS(setenv("LISTEN_PID", "me", 1));
	refused(-EINVAL, "LISTEN_PID");
}

static int
notify_socket(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = CHECK_SYS(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));

	CHECK_SYS(setenv("NOTIFY_SOCKET", name, 1));
	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	CHECK_SYS(bind(fd, (const struct sockaddr *)&address,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))));
	return fd;
}

static void
check_notified(const char *name)
{
	char text[1024] = "";
	int fd = notify_socket(name);
	ssize_t n;

	CHECK_EQ(supervisor_notify("READY=1\nSTATUS=%d things", 3), 1);
	n = CHECK_SYS(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT));
	CHECK_EQ(n, strlen("READY=1\nSTATUS=3 things"));
	CHECK_STR(text, "READY=1\nSTATUS=3 things");
	CHECK_EQ(supervisor_notify("%2000s", "x"), 1);
	CHECK_EQ(recv(fd, text, sizeof(text), MSG_DONTWAIT), 511);
	close(fd);
}

TEST(notification_to_a_path_and_to_an_abstract_name)
{
	char name[108];

	CHECK(snprintf(name, sizeof(name), "%s/notify", test_directory()) < (int)sizeof(name));
	check_notified(name);
	snprintf(name, sizeof(name), "@ivshmem-test-%d", (int)getpid());
	check_notified(name);
}

TEST(nobody_to_notify)
{
	CHECK_SYS(unsetenv("NOTIFY_SOCKET"));
	CHECK_EQ(supervisor_notify("READY=1"), 0);
	CHECK_SYS(setenv("NOTIFY_SOCKET", "", 1));
	CHECK_EQ(supervisor_notify("READY=1"), 0);
	CHECK_SYS(setenv("NOTIFY_SOCKET", "relative", 1));
	CHECK_EQ(supervisor_notify("READY=1"), -EINVAL);
	CHECK_SYS(setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1));
	CHECK_EQ(supervisor_notify("READY=1"), -ENOENT);
}

/* ---- what the supervisor keeps --------------------------------------------------------------- */

/* A supervisor that reads one message, and then what says that it has read it. */
static void
expect_and_read(int fd, const char *expected, bool with_fd)
{
	size_t n_fds;
	char text[256] = "";
	int fds[2];

	CHECK(fdpass_recv(fd, text, sizeof(text) - 1, fds, 2, &n_fds, NULL) > 0);
	CHECK_STR(text, expected);
	CHECK_EQ(n_fds, with_fd);
	if (with_fd) {
		CHECK_EQ(write(fds[0], "x", 1), 1);
		CHECK_SYS(close(fds[0]));
	}
	memset(text, 0, sizeof(text));
	CHECK(fdpass_recv(fd, text, sizeof(text) - 1, fds, 2, &n_fds, NULL) > 0);
	/* Alone, and with one descriptor: systemd ignores any other. */
	CHECK_STR(text, "BARRIER=1");
	CHECK_EQ(n_fds, 1);
	CHECK_SYS(close(fds[0]));
}

TEST(it_keeps_a_descriptor_and_drops_it)
{
	char name[108], byte;
	int fd, ends[2];
	pid_t pid;

	CHECK(snprintf(name, sizeof(name), "%s/notify", test_directory()) < (int)sizeof(name));
	fd = notify_socket(name);
	CHECK(supervisor_present());
	CHECK_SYS(pipe2(ends, O_CLOEXEC));
	pid = test_fork();
	if (pid == 0) {
		expect_and_read(fd, "FDSTORE=1\nFDNAME=some-name\nFDPOLL=0", true);
		expect_and_read(fd, "FDSTOREREMOVE=1\nFDNAME=some-name", false);
		_exit(0);
	}
	CHECK_EQ(supervisor_store(ends[1], "some-name", NULL), 0);
	CHECK_EQ(read(ends[0], &byte, 1), 1);
	CHECK_EQ(supervisor_remove("some-name"), 0);
	test_join(pid);
	close(fd);
	test_close_pair(&ends);
}

/* Then the descriptor is in its queue: the next process gets it, whatever this one fails to ask. */
TEST(it_has_the_descriptor_and_cannot_be_asked)
{
	char name[108], text[256] = "", byte;
	struct rlimit limit;
	size_t n_fds;
	int fd, got, ends[2];

	CHECK(snprintf(name, sizeof(name), "%s/notify", test_directory()) < (int)sizeof(name));
	fd = notify_socket(name);
	CHECK_SYS(pipe2(ends, O_CLOEXEC));
	/* One more can be opened, for the message, and no pipe. */
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)ends[1] + 2, limit.rlim_max}));
	CHECK_EQ(supervisor_store(ends[1], "some-name", NULL), -ETIMEDOUT);
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	CHECK(fdpass_recv(fd, text, sizeof(text) - 1, &got, 1, &n_fds, NULL) > 0);
	CHECK_STR(text, "FDSTORE=1\nFDNAME=some-name\nFDPOLL=0");
	CHECK_EQ(n_fds, 1);
	CHECK_EQ(write(got, "x", 1), 1);
	CHECK_EQ(read(ends[0], &byte, 1), 1);
	CHECK_SYS(close(got));
	close(fd);
	test_close_pair(&ends);
}

TEST(a_supervisor_that_does_not_read)
{
	char name[108];
	int fd;

	CHECK_SYS(unsetenv("NOTIFY_SOCKET"));
	CHECK(!supervisor_present());
	CHECK_EQ(supervisor_store(0, "name", NULL), -ENOTCONN);
	CHECK_EQ(supervisor_remove("name"), -ENOTCONN);
	CHECK(snprintf(name, sizeof(name), "%s/notify", test_directory()) < (int)sizeof(name));
	fd = notify_socket(name);
	/* It waits for five seconds. */
	CHECK_EQ(supervisor_remove("name"), -ETIMEDOUT);
	close(fd);
}
