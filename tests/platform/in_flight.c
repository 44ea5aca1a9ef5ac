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

/* Two pairs of sockets, and what is sent through them. */
static int one[2], other[2], mark;

void
test_before(void)
{
	mark = mark_new(1);
	fdpass_pair(one, SOCK_NONBLOCK);
	fdpass_pair(other, SOCK_NONBLOCK);
	test_drop_root();
	if (has_capability(CAP_SYS_ADMIN) || has_capability(CAP_SYS_RESOURCE))
		SKIP("cannot give up CAP_SYS_ADMIN and CAP_SYS_RESOURCE");
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){LIMIT, LIMIT}));
}

void
test_after(void)
{
	test_close(&mark);
	test_close_pair(&one);
	test_close_pair(&other);
}

/* Send the mark until the kernel refuses; returns how often it went out. */
static int
send_until_refused(int socket)
{
	int64_t number = 0;
	int n = 0;

	while (n < 4 * LIMIT &&
		fdpass_send(socket, &number, sizeof(number), &mark, 1) == sizeof(number))
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
	int n = send_until_refused(one[0]);

	CHECK_EQ(errno, ETOOMANYREFS);
	/* The kernel looks before it counts the new one. */
	CHECK_EQ(n, LIMIT + 1);
	receive_all(one[1], n);
	CHECK_EQ(send_until_refused(one[0]), n);
}

TEST(one_stopped_receiver_uses_up_the_limit_of_all)
{
	int n = send_until_refused(one[0]);

	CHECK_EQ(send_until_refused(other[0]), 0);
	CHECK_EQ(errno, ETOOMANYREFS);
	/* A closed receiver's descriptors are not in flight any more. */
	test_close(&one[1]);
	CHECK_EQ(send_until_refused(other[0]), n);
}

TEST(numbers_without_descriptors_still_go_out)
{
	int64_t number = 5;

	send_until_refused(one[0]);
	CHECK_EQ(fdpass_send(one[0], &number, sizeof(number), NULL, 0), sizeof(number));
}

static int
epoll_new(int fd, uint32_t events)
{
	int epoll = CHECK_SYS(epoll_create1(EPOLL_CLOEXEC));

	CHECK_SYS(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = events}));
	return epoll;
}

static int
count_events(int epoll)
{
	struct epoll_event event;

	return CHECK_SYS(epoll_wait(epoll, &event, 1, 0));
}

TEST(no_event_tells_when_descriptors_can_be_sent_again)
{
	int n = send_until_refused(one[0]);
	_test_close_ int epoll = epoll_new(other[0], EPOLLOUT | EPOLLET);

	CHECK_EQ(count_events(epoll), 1);
	/*
	 * The refused attempt itself is an event, because it takes and returns buffer space: who
	 * tries again on EPOLLOUT spins, edge-triggered too.
	 */
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(send_until_refused(other[0]), 0);
		CHECK_EQ(errno, ETOOMANYREFS);
		CHECK_EQ(count_events(epoll), 1);
		CHECK_EQ(count_events(epoll), 0);
	}
	/* The obstacle goes away, and the socket that was refused does not hear of it. */
	receive_all(one[1], n);
	CHECK_EQ(count_events(epoll), 0);
	CHECK_EQ(send_until_refused(other[0]), n);
}

TEST(level_triggered_polling_would_spin)
{
	_test_close_ int epoll = epoll_new(other[0], EPOLLOUT);

	/* All the while the refused socket counts as writable: waiting for EPOLLOUT would be a busy
	 * loop. */
	send_until_refused(one[0]);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(count_events(epoll), 1);
		CHECK_EQ(send_until_refused(other[0]), 0);
	}
}
