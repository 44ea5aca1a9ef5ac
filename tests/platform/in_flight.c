/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Descriptors that were sent and not yet received count against their sender's user. More than
 * RLIMIT_NOFILE of them, and sendmsg() says ETOOMANYREFS, unless the process has CAP_SYS_RESOURCE
 * or CAP_SYS_ADMIN. These tests therefore give up being root, if they are.
 */

#include <fdpass.h>
#include <marks.h>
#include <test.h>

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIMIT 64

static bool
has_capability(unsigned number)
{
	unsigned long long effective = 0;
	char line[256];
	FILE *file = fopen("/proc/self/status", "re");

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	fclose(file);
	return effective >> number & 1;
}

static void
become_unprivileged(void)
{
	struct rlimit limit = {LIMIT, LIMIT};

	test_drop_root();
	if (has_capability(CAP_SYS_ADMIN) || has_capability(CAP_SYS_RESOURCE))
		SKIP("cannot give up CAP_SYS_ADMIN and CAP_SYS_RESOURCE");
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
}

/* Send the descriptor until the kernel refuses; returns how often it went out. */
static int
send_until_refused(int socket, int fd)
{
	int64_t number = 0;
	int n = 0;

	while (n < 4 * LIMIT &&
		fdpass_send(socket, &number, sizeof(number), &fd, 1) == sizeof(number))
		n++;
	return n;
}

static void
receive_all(int socket, int n)
{
	int64_t number;
	size_t n_fds;
	int fd;

	while (n-- > 0) {
		CHECK_EQ(fdpass_recv(socket, &number, sizeof(number), &fd, 1, &n_fds, NULL),
			sizeof(number));
		CHECK_EQ(n_fds, 1);
		close(fd);
	}
}

TEST(descriptors_in_flight_are_limited)
{
	int pair[2], mark = mark_new(1), n;

	become_unprivileged();
	fdpass_pair(pair, SOCK_NONBLOCK);
	n = send_until_refused(pair[0], mark);
	CHECK_EQ(errno, ETOOMANYREFS);
	/* The kernel looks before it counts the new one. */
	CHECK_EQ(n, LIMIT + 1);
	receive_all(pair[1], n);
	CHECK_EQ(send_until_refused(pair[0], mark), n);
	receive_all(pair[1], n);
	close(mark);
	close(pair[0]);
	close(pair[1]);
}

TEST(one_stopped_receiver_uses_up_the_limit_of_all)
{
	int stopped[2], other[2], mark = mark_new(1), n;

	become_unprivileged();
	fdpass_pair(stopped, SOCK_NONBLOCK);
	fdpass_pair(other, SOCK_NONBLOCK);
	n = send_until_refused(stopped[0], mark);
	CHECK_EQ(send_until_refused(other[0], mark), 0);
	CHECK_EQ(errno, ETOOMANYREFS);
	/* A closed receiver's descriptors are not in flight any more. */
	close(stopped[1]);
	CHECK_EQ(send_until_refused(other[0], mark), n);
	receive_all(other[1], n);
	close(mark);
	close(stopped[0]);
	close(other[0]);
	close(other[1]);
}

TEST(numbers_without_descriptors_still_go_out)
{
	int pair[2], mark = mark_new(1), n;
	int64_t number = 5;

	become_unprivileged();
	fdpass_pair(pair, SOCK_NONBLOCK);
	n = send_until_refused(pair[0], mark);
	CHECK_EQ(fdpass_send(pair[0], &number, sizeof(number), NULL, 0), sizeof(number));
	receive_all(pair[1], n);
	close(mark);
	close(pair[0]);
	close(pair[1]);
}

TEST(no_event_tells_when_descriptors_can_be_sent_again)
{
	int stopped[2], other[2], mark = mark_new(1), epoll, n;
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

	become_unprivileged();
	fdpass_pair(stopped, SOCK_NONBLOCK);
	fdpass_pair(other, SOCK_NONBLOCK);
	n = send_until_refused(stopped[0], mark);
	epoll = CHECK_SYS(epoll_create1(EPOLL_CLOEXEC));
	CHECK_SYS(epoll_ctl(epoll, EPOLL_CTL_ADD, other[0], &event));
	CHECK_EQ(CHECK_SYS(epoll_wait(epoll, &event, 1, 0)), 1);
	/*
	 * The refused attempt itself is an event, because it takes and returns buffer space: who
	 * tries again on EPOLLOUT spins, edge-triggered too.
	 */
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(send_until_refused(other[0], mark), 0);
		CHECK_EQ(errno, ETOOMANYREFS);
		CHECK_EQ(CHECK_SYS(epoll_wait(epoll, &event, 1, 0)), 1);
		CHECK_EQ(CHECK_SYS(epoll_wait(epoll, &event, 1, 0)), 0);
	}
	/* The obstacle goes away, and the socket that was refused does not hear of it. */
	receive_all(stopped[1], n);
	CHECK_EQ(CHECK_SYS(epoll_wait(epoll, &event, 1, 0)), 0);
	CHECK_EQ(send_until_refused(other[0], mark), n);
	receive_all(other[1], n);
	close(epoll);
	close(mark);
	close(stopped[0]);
	close(stopped[1]);
	close(other[0]);
	close(other[1]);
}

TEST(level_triggered_polling_would_spin)
{
	int stopped[2], other[2], mark = mark_new(1), epoll, n;
	struct epoll_event event = {.events = EPOLLOUT};

	/* All the while the refused socket counts as writable: waiting for EPOLLOUT would be a busy
	 * loop. */
	become_unprivileged();
	fdpass_pair(stopped, SOCK_NONBLOCK);
	fdpass_pair(other, SOCK_NONBLOCK);
	n = send_until_refused(stopped[0], mark);
	epoll = CHECK_SYS(epoll_create1(EPOLL_CLOEXEC));
	CHECK_SYS(epoll_ctl(epoll, EPOLL_CTL_ADD, other[0], &event));
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(CHECK_SYS(epoll_wait(epoll, &event, 1, 0)), 1);
		CHECK_EQ(send_until_refused(other[0], mark), 0);
	}
	receive_all(stopped[1], n);
	close(epoll);
	close(mark);
	close(stopped[0]);
	close(stopped[1]);
	close(other[0]);
	close(other[1]);
}
