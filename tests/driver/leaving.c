/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What programs see when the device is reset or leaves. Each test brings the device back.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include <test.h>

#include "node.h"

static void
take_out(void)
{
	CHECK_SYS(put_in_folder("remove"));
}

static void
bring_back(void)
{
	CHECK_SYS(put("/sys/bus/pci/rescan", "1"));
}

static sigjmp_buf on_bus_error;

static void
bus_error(int signal)
{
	(void)signal;
	siglongjmp(on_bus_error, 1);
}

static bool
dies_of_sigbus(volatile uint32_t *word)
{
	struct sigaction action = {.sa_handler = bus_error};

	CHECK_SYS(sigaction(SIGBUS, &action, NULL));
	if (sigsetjmp(on_bus_error, 1) != 0)
		return true;
	(void)*word;
	return false;
}

struct holder {
	volatile uint32_t *words; /* NULL: the device has none */
	int fd;
	int eventfd;
	volatile uint32_t *memory;
	struct ivshmem_dev_info info;
};

/* Everything that a program can hold. */
static struct holder
hold(void)
{
	struct holder holder = {
		.fd = open_node(O_RDWR), .eventfd = CHECK_SYS(eventfd(0, EFD_CLOEXEC))};
	struct ivshmem_dev_store store = {.offset = 64, .value = 0xdead, .width = 4};
	struct ivshmem_dev_on_close list = {
		.size = sizeof(list), .stores = (uintptr_t)&store, .n_stores = 1};

	holder.info = info_of(holder.fd);
	holder.memory = map(holder.fd, PAGE, PROT_READ | PROT_WRITE);
	if (holder.info.features & IVSHMEM_DEV_FEATURE_MAP_WORDS) {
		holder.words = mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, holder.fd,
			(off_t)holder.info.doorbell_offset);
		CHECK(holder.words != MAP_FAILED);
	}
	holder.memory[0] = 1;
	CHECK_SYS(ioctl(holder.fd, IVSHMEM_DEV_ON_CLOSE, &list));
	if (holder.info.vectors != 0) {
		CHECK_SYS(subscribe(holder.fd, 0, 0, holder.eventfd));
		CHECK_SYS(subscribe(holder.fd, 0, 0, -1));
	}
	return holder;
}

static void
let_go(struct holder *holder)
{
	unmap(holder->memory, PAGE);
	if (holder->words != NULL)
		unmap(holder->words, PAGE);
	CHECK_SYS(close(holder->fd));
	CHECK_SYS(close(holder->eventfd));
}

/* The device is gone, and this program noticed it in each way there is. */
static void
check_gone(struct holder *holder)
{
	struct ivshmem_dev_info info = {.size = sizeof(info)};
	struct ivshmem_dev_event event;
	const unsigned long commands[] = {IVSHMEM_DEV_INFO, IVSHMEM_DEV_RING, IVSHMEM_DEV_SUBSCRIBE,
		IVSHMEM_DEV_UNSUBSCRIBE, IVSHMEM_DEV_RESTRICT, IVSHMEM_DEV_ON_CLOSE};
	uint64_t count;

	CHECK_EQ(events_of(holder->fd, (int)test_patience_ms(10000)) & (POLLHUP | POLLERR),
		POLLHUP | POLLERR);
	if (holder->info.vectors != 0)
		CHECK_EQ(CHECK_SYS(read(holder->eventfd, &count, sizeof(count))), sizeof(count));
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		CHECK_EQ(ioctl(holder->fd, commands[i], &info), -1);
		CHECK_EQ(errno, ENODEV);
	}
	CHECK_EQ(ring(holder->fd, 0, 0), -1);
	CHECK_EQ(errno, ENODEV);
	CHECK_EQ(subscribe(holder->fd, 0, 0, -1), -1);
	CHECK_EQ(errno, ENODEV);
	while (read(holder->fd, &event, sizeof(event)) > 0)
		;
	CHECK_EQ(errno, ENODEV);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, holder->fd, 0) == MAP_FAILED);
	CHECK_EQ(errno, ENODEV);
	CHECK(dies_of_sigbus(holder->memory));
	/* A ring on its way is lost, and kills nobody. The page where it goes was empty. */
	if (holder->words != NULL) {
		holder->words[0] = 1;
		CHECK_SYS(mprotect((void *)(uintptr_t)holder->words, PAGE, PROT_READ | PROT_WRITE));
		for (size_t i = 1; i < PAGE / sizeof(*holder->words); i++)
			CHECK_EQ(holder->words[i], 0);
	}
	CHECK(access(NODE, F_OK) != 0);
}

TEST(unbinding_with_everything_held)
{
	struct holder holder = hold();

	unbind_device();
	check_gone(&holder);
	bind_device();
	/* The old file stays dead; a new one of the same name works. */
	CHECK(dies_of_sigbus(holder.memory));
	let_go(&holder);
	holder = hold();
	let_go(&holder);
}

TEST(taking_the_device_out_with_everything_held)
{
	struct holder holder = hold();

	take_out();
	check_gone(&holder);
	bring_back();
	let_go(&holder);
	holder = hold();
	let_go(&holder);
}

static void
check_module_stays(void)
{
	CHECK_EQ(syscall(SYS_delete_module, "ivshmem", O_NONBLOCK), -1);
	CHECK_EQ(errno, EWOULDBLOCK);
}

/* Whatever it is that a program holds, also of a device that is gone. The script removes the module at the end. */
TEST(the_module_stays_while_something_is_held)
{
	struct holder holder = hold();

	check_module_stays();
	CHECK_EQ(holder.memory[0], 1);
	unbind_device();
	check_gone(&holder);
	check_module_stays();
	bind_device();
	CHECK_SYS(close(holder.fd));
	check_module_stays();
	holder.fd = open_node(O_RDWR);
	let_go(&holder);
}

TEST(a_program_that_waits_wakes_when_the_device_goes)
{
	struct ivshmem_dev_event event;
	pid_t child = test_fork();
	int fd, mark;

	if (child == 0) {
		fd = CHECK_SYS(open(NODE, O_RDONLY | O_CLOEXEC));
		mark = CHECK_SYS(creat("/tmp/waits", 0600));
		CHECK_SYS(close(mark));
		CHECK_EQ(read(fd, &event, sizeof(event)), -1);
		CHECK_EQ(errno, ENODEV);
		_exit(0);
	}
	while (access("/tmp/waits", F_OK) != 0)
		usleep(1000);
	unlink("/tmp/waits");
	unbind_device();
	test_join(child);
	bind_device();
}

TEST(a_reset_keeps_what_is_held)
{
	struct holder holder = hold();
	struct ivshmem_dev_info info;

	holder.memory[7] = 77;
	if (put_in_folder("reset") != 0) {
		CHECK_EQ(errno, ENOENT);
		SKIP("the kernel knows no way to reset this device");
	}
	CHECK_EQ(holder.memory[7], 77);
	info = info_of(holder.fd);
	CHECK_EQ(info.generation, holder.info.generation + 1);
	CHECK_EQ(info.peer, holder.info.peer);
	if (info.vectors != 0) {
		/* Everybody is told, because something may have been lost. And then interrupts come again. */
		CHECK(count_of(holder.eventfd) >= 1);
		CHECK_EQ(ring(holder.fd, (unsigned)info.peer, 0), 1);
		CHECK_EQ(count_of(holder.eventfd), 1);
	}
	let_go(&holder);
}

/* What waited in a masked vector is lost with a reset, so whoever comes first is told of it. */
TEST(who_listens_after_a_reset_is_told)
{
	int fd = open_node(O_RDWR);
	struct ivshmem_dev_info info = need_vectors(fd, 1);
	struct ivshmem_dev_event event;

	CHECK_EQ(ring(fd, (unsigned)info.peer, 0), 1);
	CHECK_SYS(put_in_folder("reset"));
	CHECK_SYS(subscribe(fd, 0, 0, -1));
	CHECK_EQ(CHECK_SYS(read(fd, &event, sizeof(event))), sizeof(event));
	CHECK_EQ(event.vector, 0);
	CHECK_SYS(close(fd));
}

/* Interrupts come while the file is closed, or the device leaves. */
static void
ring_often(int fd)
{
	struct ivshmem_dev_info info = {.size = sizeof(info)};

	if (ioctl(fd, IVSHMEM_DEV_INFO, &info) != 0) {
		CHECK_EQ(errno, ENODEV);
		return;
	}
	for (unsigned i = 0; i < 10; i++)
		if (ring(fd, (unsigned)info.peer & 0xffff, 0) != 1)
			CHECK_EQ(errno, ENODEV);
}

/* What the two processes below tell each other. */
struct meeting {
	unsigned opened;
	bool over;
};

static void
open_and_use(volatile struct meeting *meeting)
{
	int fd = open(NODE, O_RDWR | O_CLOEXEC);
	void *memory;

	if (fd < 0) {
		CHECK(errno == ENOENT || errno == ENODEV || errno == ENXIO);
		sched_yield();
		return;
	}
	memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED) {
		dies_of_sigbus(memory);
		CHECK_SYS(munmap(memory, PAGE));
	} else {
		CHECK_EQ(errno, ENODEV);
	}
	if (subscribe(fd, 0, 0, -1) != 0)
		CHECK(errno == ENODEV || errno == EINVAL); /* a device without vectors */
	ring_often(fd);
	CHECK_SYS(close(fd));
	meeting->opened++;
}

/*
 * A process opens, maps, listens and rings while the device comes and goes. Both go on until each has
 * done it so often: a node that is not there is quickly not opened.
 */
TEST_WITH(openers_beside_unbinds, .timeout_s = 600)
{
	unsigned times = test_count(1000), bound = 0;
	void *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	volatile struct meeting *meeting = shared;
	pid_t opener;

	CHECK(shared != MAP_FAILED);
	opener = test_fork();
	if (opener == 0) {
		while (!meeting->over)
			open_and_use(meeting);
		_exit(0);
	}
	while (bound < times || meeting->opened < times) {
		CHECK(bound < 10 * times); /* the other one gets nowhere */
		unbind_device();
		bind_device();
		bound++;
	}
	meeting->over = true;
	test_join(opener);
	printf("# %u binds, %u opens\n", bound, meeting->opened);
	CHECK_SYS(munmap(shared, PAGE));
}
