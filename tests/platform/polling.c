/* SPDX-License-Identifier: BSD-2-Clause */

/* epoll, timers, and what else the loop and the listener rely on: W5. */

#include <marks.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int
epoll_new(int fd, uint32_t events)
{
	int epoll = CHECK_SYS(epoll_create1(EPOLL_CLOEXEC));

	CHECK_SYS(epoll_ctl(
		epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = events, .data.fd = fd}));
	return epoll;
}

TEST(epoll_reports_a_closed_descriptor_while_a_duplicate_lives)
{
	struct epoll_event event;
	int fd = CHECK_SYS(eventfd(1, 0)), duplicate = CHECK_SYS(dup(fd));
	_test_close_ int epoll = epoll_new(fd, EPOLLIN);

	close(fd);
	CHECK_EQ(CHECK_SYS(epoll_wait(epoll, &event, 1, 0)), 1);
	CHECK_EQ(event.data.fd, fd);
	/* And it cannot be removed any more by its number. */
	CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL), EBADF);
	close(duplicate);
	CHECK_EQ(CHECK_SYS(epoll_wait(epoll, &event, 1, 0)), 0);
}

TEST(removed_before_close_is_quiet)
{
	struct epoll_event event;
	int fd = CHECK_SYS(eventfd(1, 0));
	_test_close_ int duplicate = CHECK_SYS(dup(fd)), epoll = epoll_new(fd, EPOLLIN);

	CHECK_SYS(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
	close(fd);
	CHECK_EQ(CHECK_SYS(epoll_wait(epoll, &event, 1, 0)), 0);
}

TEST(epoll_refuses_files)
{
	_test_close_ int fd = CHECK_SYS(open("/proc/self/exe", O_RDONLY)),
			 epoll = CHECK_SYS(epoll_create1(0));

	CHECK_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN}),
		EPERM);
}

TEST(epoll_with_a_due_timer_is_readable_itself)
{
	_test_close_ int timer = CHECK_SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)),
			 inner = epoll_new(timer, EPOLLIN);
	_test_close_ int outer = epoll_new(inner, EPOLLIN);
	struct itimerspec spec = {.it_value.tv_nsec = 1};
	struct pollfd poll_fd = {.fd = inner, .events = POLLIN};
	struct epoll_event event;
	uint64_t expirations;

	CHECK_EQ(CHECK_SYS(poll(&poll_fd, 1, 0)), 0);
	CHECK_EQ(CHECK_SYS(epoll_wait(outer, &event, 1, 0)), 0);
	/* An absolute time that has long passed is due at once. */
	CHECK_SYS(timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL));
	CHECK_EQ(CHECK_SYS(poll(&poll_fd, 1, 30000)), 1);
	CHECK_EQ(poll_fd.revents, POLLIN);
	CHECK_EQ(CHECK_SYS(epoll_wait(outer, &event, 1, 30000)), 1);
	CHECK_EQ(event.data.fd, inner);
	CHECK_EQ(CHECK_SYS(epoll_wait(inner, &event, 1, 0)), 1);
	CHECK_EQ(event.data.fd, timer);
	CHECK_EQ(CHECK_SYS(read(timer, &expirations, 8)), 8);
	CHECK_EQ(CHECK_SYS(poll(&poll_fd, 1, 0)), 0);
	CHECK_EQ(CHECK_SYS(epoll_wait(outer, &event, 1, 0)), 0);
}

TEST(setting_a_timer_anew_takes_back_that_it_was_due)
{
	_test_close_ int timer = CHECK_SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	struct itimerspec past = {.it_value.tv_nsec = 1}, never = {.it_value.tv_sec = 1 << 30};
	struct pollfd poll_fd = {.fd = timer, .events = POLLIN};
	uint64_t expirations;

	CHECK_SYS(timerfd_settime(timer, TFD_TIMER_ABSTIME, &past, NULL));
	CHECK_EQ(CHECK_SYS(poll(&poll_fd, 1, 30000)), 1);
	CHECK_SYS(timerfd_settime(timer, TFD_TIMER_ABSTIME, &never, NULL));
	CHECK_EQ(CHECK_SYS(poll(&poll_fd, 1, 0)), 0);
	CHECK_ERRNO(read(timer, &expirations, 8), EAGAIN);
}

/* ---- listening ------------------------------------------------------------------------------ */

static struct sockaddr_un address = {.sun_family = AF_UNIX};

void
test_before(void)
{
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", test_directory());
}

static int
new_listener(int backlog)
{
	int fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	CHECK_SYS(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
	CHECK_SYS(listen(fd, backlog));
	return fd;
}

static int
new_client(int flags)
{
	int fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));

	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		int code = errno;

		close(fd);
		errno = code;
		return -1;
	}
	return fd;
}

/* Connect until the backlog is full; returns how many connections that took. */
static int
backlog_fill(int *fds, int max)
{
	int n = 0;

	while (n < max && (fds[n] = new_client(SOCK_NONBLOCK)) >= 0)
		n++;
	CHECK(n > 0 && n < max);
	CHECK_EQ(errno, EAGAIN);
	return n;
}

TEST(connect_to_a_full_backlog_waits_no_longer_than_the_send_timeout)
{
	int listener = new_listener(1), fds[64], n = backlog_fill(fds, 64);
	int fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0));
	struct timeval timeout = {.tv_usec = 300000};
	struct timespec before, after;
	int64_t elapsed_ms;

	CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)));
	clock_gettime(CLOCK_MONOTONIC, &before);
	CHECK_ERRNO(connect(fd, (const struct sockaddr *)&address, sizeof(address)), EAGAIN);
	clock_gettime(CLOCK_MONOTONIC, &after);
	elapsed_ms =
		(after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
	/* It did wait (less a tick), and did not wait for ever. */
	CHECK(elapsed_ms >= 250);
	CHECK(elapsed_ms < 20000);
	close(fd);
	while (n > 0)
		close(fds[--n]);
	close(listener);
}

TEST(connections_in_the_backlog_work_before_they_are_accepted)
{
	_test_close_ int listener = new_listener(8);
	int client = CHECK_SYS(new_client(0)), accepted;
	char byte = 'x';

	CHECK_EQ(write(client, &byte, 1), 1);
	close(client);
	accepted = CHECK_SYS(accept(listener, NULL, NULL));
	CHECK_EQ(CHECK_SYS(read(accepted, &byte, 1)), 1);
	CHECK_EQ(CHECK_SYS(read(accepted, &byte, 1)), 0);
	close(accepted);
}

TEST(socket_file_without_listener_refuses)
{
	close(new_listener(8));
	CHECK_ERRNO(new_client(0), ECONNREFUSED);
	/* The name stays; nobody can bind to it until it is removed. */
	{
		_test_close_ int fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0));

		CHECK_ERRNO(
			bind(fd, (const struct sockaddr *)&address, sizeof(address)), EADDRINUSE);
	}
}

TEST(bound_socket_refuses_until_it_listens)
{
	_test_close_ int fd = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0));

	/* A starting server looks dead for a moment: why servers take a lock before they look. */
	CHECK_SYS(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
	CHECK_ERRNO(new_client(0), ECONNREFUSED);
	CHECK_SYS(listen(fd, 1));
	close(CHECK_SYS(new_client(0)));
}

TEST(directories_can_be_locked)
{
	int one = CHECK_SYS(open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	_test_close_ int two =
		CHECK_SYS(open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	CHECK_SYS(flock(one, LOCK_EX | LOCK_NB));
	CHECK_ERRNO(flock(two, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	/* Closing releases it, so a process that dies does. */
	close(one);
	CHECK_SYS(flock(two, LOCK_EX | LOCK_NB));
}

TEST(locks_of_a_dead_process_are_gone)
{
	_test_close_pair_ int ready[2];
	_test_close_ int fd = CHECK_SYS(open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	char byte;
	pid_t pid;

	CHECK_SYS(pipe2(ready, O_CLOEXEC));
	pid = test_fork();
	if (pid == 0) {
		int own = CHECK_SYS(open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));

		CHECK_SYS(flock(own, LOCK_EX));
		CHECK_EQ(write(ready[1], "x", 1), 1);
		_exit(0);
	}
	CHECK_EQ(CHECK_SYS(read(ready[0], &byte, 1)), 1);
	test_join(pid);
	CHECK_SYS(flock(fd, LOCK_EX | LOCK_NB));
}
