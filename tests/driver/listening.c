/* SPDX-License-Identifier: BSD-2-Clause */

/* Who listens to which vector, and reading. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

TEST(several_may_have_one_vector)
{
	int one = open_node(O_RDWR), two = open_node(O_RDWR);
	int first = CHECK_SYS(eventfd(0, EFD_CLOEXEC)), second = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	need_vectors(one, 1);
	CHECK_SYS(subscribe(one, 0, 0, first));
	CHECK_SYS(subscribe(one, 0, 0, second));
	CHECK_SYS(subscribe(two, 0, 0, -1));
	CHECK_EQ(subscribe(one, 0, 0, first), -1);
	CHECK_EQ(errno, EEXIST);
	CHECK_EQ(subscribe(two, 0, 0, -1), -1);
	CHECK_EQ(errno, EEXIST);
	ring_self(one, 0);
	CHECK_EQ(count_of(first), 1);
	CHECK_EQ(count_of(second), 1);
	wait_for(two);
	CHECK_SYS(unsubscribe(one, 0, 0, first));
	CHECK_EQ(unsubscribe(one, 0, 0, first), -1);
	CHECK_EQ(errno, ENOENT);
	ring_self(one, 0);
	CHECK_EQ(count_of(second), 1);
	CHECK(is_quiet(first));
	CHECK_SYS(unsubscribe(one, IVSHMEM_DEV_ALL, 0, 0));
	CHECK_EQ(unsubscribe(one, IVSHMEM_DEV_ALL, 0, 0), -1);
	CHECK_EQ(errno, ENOENT);
	for (int *fd = (int[]){one, two, first, second, -1}; *fd != -1; fd++)
		CHECK_SYS(close(*fd));
}

TEST(one_may_have_a_vector_alone)
{
	int one = open_node(O_RDWR), two = open_node(O_RDWR);

	need_vectors(one, 1);
	CHECK_SYS(subscribe(one, IVSHMEM_DEV_EXCLUSIVE, 0, -1));
	CHECK_EQ(subscribe(two, 0, 0, -1), -1);
	CHECK_EQ(errno, EBUSY);
	CHECK_EQ(subscribe(two, IVSHMEM_DEV_EXCLUSIVE, 0, -1), -1);
	CHECK_EQ(errno, EBUSY);
	/* It is free as soon as the file is closed. */
	CHECK_SYS(close(one));
	CHECK_SYS(subscribe(two, 0, 0, -1));
	one = open_node(O_RDWR);
	CHECK_EQ(subscribe(one, IVSHMEM_DEV_EXCLUSIVE, 0, -1), -1);
	CHECK_EQ(errno, EBUSY);
	CHECK_SYS(close(one));
	CHECK_SYS(close(two));
}

TEST(subscriptions_that_are_wrong)
{
	int fd = open_node(O_RDWR), file = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	struct ivshmem_dev_info info = info_of(fd);

	CHECK_EQ(subscribe(fd, 0, info.vectors, -1), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(subscribe(fd, 0, UINT32_MAX, -1), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(subscribe(fd, 1u << 31, 0, -1), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(subscribe(fd, 0, 0, -2), -1);
	CHECK_EQ(errno, EBADF);
	CHECK_EQ(subscribe(fd, 0, 0, file), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(unsubscribe(fd, 0, 0, -1), -1);
	CHECK_EQ(errno, ENOENT);
	CHECK_SYS(close(file));
	CHECK_SYS(close(fd));
}

TEST(reading_without_events)
{
	int fd = open_node(O_RDONLY | O_NONBLOCK);
	struct ivshmem_dev_event event;

	CHECK_EQ(read(fd, &event, sizeof(event)), -1);
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(read(fd, &event, sizeof(event) - 1), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK(is_quiet(fd));
	CHECK_SYS(close(fd));
}

/* Returns when fd has been told of the vector, too: those who listen are told in their order. */
static void
ring_until_heard(int fd, unsigned vector)
{
	int heard = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	CHECK_SYS(subscribe(fd, 0, vector, heard));
	ring_self(fd, vector);
	CHECK_EQ(count_of(heard), 1);
	CHECK_SYS(close(heard));
}

/* The buffer is nowhere, or ends within the first event, or within the second. */
TEST(a_read_that_fails_loses_nothing)
{
	int fd = open_node(O_RDWR | O_NONBLOCK);
	struct ivshmem_dev_info info = need_vectors(fd, 1);
	unsigned vectors = info.vectors < 2 ? info.vectors : 2;
	char *pages =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ivshmem_dev_event events[3];

	CHECK(pages != MAP_FAILED);
	CHECK_SYS(munmap(pages + PAGE, PAGE));
	for (unsigned vector = 0; vector < vectors; vector++)
		CHECK_SYS(subscribe(fd, 0, vector, -1));
	for (unsigned i = 0; i < 2 * vectors; i++)
		ring_until_heard(fd, i % vectors);
	CHECK_EQ(read(fd, pages + PAGE, sizeof(events)), -1);
	CHECK_EQ(errno, EFAULT);
	for (unsigned i = 0; i < vectors; i++) {
		CHECK_EQ(read(fd, pages + PAGE - i * sizeof(events[0]) - 8, sizeof(events)), -1);
		CHECK_EQ(errno, EFAULT);
	}
	CHECK_EQ(events_of(fd, 0), POLLIN);
	CHECK_EQ(CHECK_SYS(read(fd, events, sizeof(events))), vectors * sizeof(events[0]));
	for (unsigned i = 0; i < vectors; i++) {
		CHECK_EQ(events[i].vector, i);
		CHECK_EQ(events[i].count, 2);
	}
	CHECK(is_quiet(fd));
	CHECK_SYS(munmap(pages, PAGE));
	CHECK_SYS(close(fd));
}

TEST(a_short_read_leaves_the_rest)
{
	int fd = open_node(O_RDWR | O_NONBLOCK);
	struct ivshmem_dev_event event;

	need_vectors(fd, 4);
	for (unsigned vector = 0; vector < 4; vector++) {
		CHECK_SYS(subscribe(fd, 0, vector, -1));
		ring_until_heard(fd, vector);
	}
	for (unsigned vector = 0; vector < 4; vector++) {
		char buffer[2 * sizeof(event) - 1];

		CHECK_EQ(CHECK_SYS(read(fd, buffer, sizeof(buffer))), sizeof(event));
		memcpy(&event, buffer, sizeof(event));
		CHECK_EQ(event.vector, vector);
		CHECK_EQ(event.count, 1);
	}
	CHECK(is_quiet(fd));
	CHECK_SYS(close(fd));
}

static void
alarm_came(int signal)
{
	(void)signal;
}

TEST(a_signal_ends_a_read_and_takes_nothing)
{
	const struct itimerval often = {{0, 10000}, {0, 10000}}, never = {0};
	struct sigaction action = {.sa_handler = alarm_came};
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_event event;

	need_vectors(fd, 1);
	CHECK_SYS(subscribe(fd, 0, 0, -1));
	CHECK_SYS(sigaction(SIGALRM, &action, NULL));
	CHECK_SYS(setitimer(ITIMER_REAL, &often, NULL));
	CHECK_EQ(read(fd, &event, sizeof(event)), -1);
	CHECK_EQ(errno, EINTR);
	CHECK_SYS(setitimer(ITIMER_REAL, &never, NULL));
	ring_self(fd, 0);
	CHECK_EQ(CHECK_SYS(read(fd, &event, sizeof(event))), sizeof(event));
	CHECK_EQ(event.count, 1);
	CHECK_SYS(close(fd));
}
