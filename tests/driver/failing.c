/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever the kernel fails to do within a call (memory that it does not get, a copy from or to the
 * program), the call says so and changes nothing: the same call works afterwards. The kernel counts
 * what can fail (CONFIG_FAULT_INJECTION, /proc/thread-self/fail-nth) and makes the nth fail, and
 * these tests ask for each n until the call has no more. Other kernels do not have it, see
 * docs/testing.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

static int nth = -1;

/* The descriptor is the test's, and stays open as long as it runs. */
void
test_before(void)
{
	nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth < 0)
		SKIP("this kernel fails at nothing that it is asked to");
}

void
test_after(void)
{
	test_close(&nth);
}

static void
fail_at(unsigned n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	CHECK_EQ(pwrite(nth, text, (size_t)length, 0), length);
}

/* Whether what was asked for has happened. To ask is a call that can fail, too. */
static bool
has_failed(void)
{
	char text[16] = "";
	bool asked = pread(nth, text, sizeof(text) - 1, 0) > 0;

	while (pwrite(nth, "0", 1, 0) != 1)
		;
	return asked && atoi(text) == 0;
}

static void
check_error(unsigned n, int error)
{
	/* EBUSY: what the kernel says when it cannot note that a region is taken. */
	if (error != ENOMEM && error != EFAULT && error != EBUSY)
		FAIL("failure %u: %s", n, strerror(error));
}

/*
 * `call` until nothing fails in it any more, which is when it must work. It returns -1 and errno if
 * it did not work. One that works although something failed is undone, too.
 */
static void
fail_each(int (*call)(void), void (*undo)(void))
{
	bool failed = true;
	unsigned n;

	for (n = 1; failed; n++) {
		int answer, error;

		fail_at(n);
		answer = call();
		error = errno;
		failed = has_failed();
		if (answer == -1) {
			if (!failed)
				FAIL("nothing failed, but: %s", strerror(error));
			check_error(n, error);
		} else if (undo != NULL) {
			undo();
		}
	}
	printf("# %u places where it can fail\n", n - 2);
	CHECK(n > 2);
}

/* ---- calls; all use this descriptor ---- */

static int fd;

static int
open_it(void)
{
	fd = open(NODE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	return fd;
}

static void
close_it(void)
{
	CHECK_SYS(close(fd));
}

static void
open_again(void)
{
	close_it();
	CHECK_SYS(open_it());
}

TEST(opening)
{
	fail_each(open_it, close_it);
}

static int
subscribe_it(void)
{
	return subscribe(fd, 0, 0, -1);
}

static void
unsubscribe_it(void)
{
	CHECK_SYS(unsubscribe(fd, 0, 0, -1));
}

/* The interrupt is requested with each. */
TEST(subscribing)
{
	CHECK_SYS(open_it());
	need_vectors(fd, 1);
	fail_each(subscribe_it, unsubscribe_it);
	/* It still works. */
	CHECK_SYS(subscribe_it());
	ring_self(fd, 0);
	wait_for(fd);
	close_it();
}

static int
map_it(void)
{
	volatile uint32_t *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return -1;
	/* The kernel tries a page fault again. */
	memory[0] = 1;
	while (munmap((void *)(uintptr_t)memory, PAGE) != 0)
		CHECK_EQ(errno, ENOMEM);
	return 0;
}

TEST(mapping)
{
	CHECK_SYS(open_it());
	fail_each(map_it, NULL);
	close_it();
}

static int
restrict_it(void)
{
	uint64_t bitmap[2] = {3, 3};
	struct ivshmem_dev_restriction wish = {.size = sizeof(wish),
		.peers = (uintptr_t)bitmap,
		.ring_vectors = (uintptr_t)bitmap,
		.vectors = (uintptr_t)bitmap,
		.peers_words = 2,
		.ring_vectors_words = 2,
		.vectors_words = 2};

	return ioctl(fd, IVSHMEM_DEV_RESTRICT, &wish);
}

TEST(restricting)
{
	CHECK_SYS(open_it());
	fail_each(restrict_it, open_again);
	close_it();
}

static int
ring_many(void)
{
	struct ivshmem_dev_target targets[100] = {{0}};
	struct ivshmem_dev_ring wish = {
		.size = sizeof(wish), .targets = (uintptr_t)targets, .n = 100};

	for (unsigned i = 0; i < 100; i++)
		targets[i].peer = 65000; /* is not there */
	return ioctl(fd, IVSHMEM_DEV_RING, &wish);
}

TEST(ringing)
{
	CHECK_SYS(open_it());
	fail_each(ring_many, NULL);
	close_it();
}

/* ---- what is to be done when the file is closed ---- */

static int
leave_word(void)
{
	struct ivshmem_dev_store store = {.offset = 64, .value = 0xdead, .width = 4};
	struct ivshmem_dev_target target = {.peer = 65000};
	struct ivshmem_dev_on_close wish = {.size = sizeof(wish),
		.stores = (uintptr_t)&store,
		.targets = (uintptr_t)&target,
		.n_stores = 1,
		.n_targets = 1};

	return ioctl(fd, IVSHMEM_DEV_ON_CLOSE, &wish);
}

TEST(leaving_word)
{
	CHECK_SYS(open_it());
	fail_each(leave_word, NULL);
	close_it();
}

static int
close_with_word(void)
{
	return close(fd);
}

static void
open_and_leave_word(void)
{
	CHECK_SYS(open_it());
	CHECK_SYS(leave_word());
}

/* A close cannot fail. */
TEST(closing_with_word_left)
{
	open_and_leave_word();
	fail_each(close_with_word, open_and_leave_word);
	close_it();
}

/* ---- interrupts that wait to be read ---- */

static struct ivshmem_dev_event event;

static int
read_it(void)
{
	return (int)read(fd, &event, sizeof(event));
}

static void
check_event_and_ring(void)
{
	CHECK_EQ(event.vector, 0);
	CHECK_EQ(event.count, 1);
	ring_self(fd, 0);
	wait_for(fd);
}

/* One that could not be copied to the program waits for the next read. */
TEST(reading)
{
	CHECK_SYS(open_it());
	need_vectors(fd, 1);
	CHECK_SYS(subscribe_it());
	ring_self(fd, 0);
	wait_for(fd);
	fail_each(read_it, check_event_and_ring);
	close_it();
}

/* ---- the device comes and goes ---- */

static int
bind_it(void)
{
	return put_device("bind");
}

static int
unbind_it(void)
{
	return put_device("unbind");
}

TEST_WITH(binding, .timeout_s = 300)
{
	unbind_device();
	fail_each(bind_it, unbind_device);
	bind_device();
	/* It is whole again. */
	CHECK_SYS(open_it());
	close_it();
}

TEST_WITH(unbinding, .timeout_s = 300)
{
	fail_each(unbind_it, bind_device);
}

static int
reset_it(void)
{
	return put_in_folder("reset");
}

TEST_WITH(resetting, .timeout_s = 300)
{
	CHECK_SYS(open_it());
	CHECK_SYS(subscribe_it());
	fail_each(reset_it, NULL);
	close_it();
}
