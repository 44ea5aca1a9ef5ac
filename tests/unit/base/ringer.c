/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/ringer.h>

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define FULL (UINT64_MAX - 1)

static const int modes[] = {0, EFD_NONBLOCK};
static struct ringer ringer;

void
test_before(void)
{
	ringer_init(&ringer);
}

void
test_after(void)
{
	ringer_done(&ringer);
}

TEST(ring_adds_one)
{
	for (size_t i = 0; i < 2; i++) {
		_test_close_ int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC | modes[i]));
		uint64_t count;

		/* More often than there is room for completions. */
		for (int n = 0; n < 10000; n++)
			CHECK_EQ(ringer_ring(&ringer, fd), 0);
		CHECK_SYS(eventfd_read(fd, &count));
		CHECK_EQ(count, 10000);
	}
	ringer_done(&ringer);
}

TEST(a_full_one_goes_on_ringing)
{
	for (size_t i = 0; i < 2; i++) {
		_test_close_ int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC | modes[i]));
		uint64_t count;

		CHECK_SYS(eventfd_write(fd, FULL));
		for (int n = 0; n < 5; n++)
			CHECK_EQ(ringer_ring(&ringer, fd), 0);
		CHECK_SYS(eventfd_read(fd, &count));
		CHECK(count >= FULL);
	}
}

/* Fills the eventfd whenever it was emptied, with O_NONBLOCK off. */
static atomic_bool end;

static void *
attacker(void *data)
{
	int fd = *(int *)data;
	uint64_t count;

	while (!atomic_load(&end)) {
		fcntl(fd, F_SETFL, O_NONBLOCK);
		eventfd_read(fd, &count);
		fcntl(fd, F_SETFL, 0);
		/* Ours alone, or theirs in between: then it is full as well. */
		fcntl(fd, F_SETFL, O_NONBLOCK);
		eventfd_write(fd, FULL);
		fcntl(fd, F_SETFL, 0);
	}
	return NULL;
}

/* It would be stuck within seconds if it looked first and wrote then. */
TEST(nobody_can_make_it_block)
{
	pthread_t thread;
	_test_close_ int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC));

	/* The first ring makes the context. */
	CHECK_EQ(ringer_ring(&ringer, fd), 0);
	if (!ringer.context)
		test_skip("the kernel has no asynchronous requests");
	CHECK_EQ(pthread_create(&thread, NULL, attacker, &fd), 0);
	for (int n = 0; n < 300000; n++)
		CHECK_EQ(ringer_ring(&ringer, fd), 0);
	atomic_store(&end, true);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* The child has no asynchronous requests of its own, and rings the other way. */
TEST(after_a_fork)
{
	int fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC)), status;
	uint64_t count;
	pid_t child;

	CHECK_EQ(ringer_ring(&ringer, fd), 0);
	CHECK_SYS(read(fd, &count, sizeof(count)));
	child = CHECK_SYS(fork());
	if (child == 0) {
		int r = ringer_ring(&ringer, fd);

		ringer_done(&ringer);
		_exit(r == 0 ? 0 : 1);
	}
	CHECK_SYS(waitpid(child, &status, 0));
	CHECK_EQ(status, 0);
	CHECK_EQ(ringer_ring(&ringer, fd), 0);
	CHECK_SYS(eventfd_read(fd, &count));
	CHECK_EQ(count, 2);
	close(fd);
}

TEST(what_is_no_eventfd)
{
	_test_close_ int fd = CHECK_SYS(open("/dev/null", O_RDONLY | O_CLOEXEC));

	CHECK_EQ(ringer_ring(&ringer, fd), -EBADF);
}
