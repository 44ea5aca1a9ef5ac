/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * VMMs that connect, behave in every way, and go, at a device that serves them with both its threads. It
 * also runs with the thread sanitizer: meson setup -Db_sanitize=thread.
 */

#include <base/pace.h>
#include <vfio_user_vmm.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEADER sizeof(struct vfio_user_header)

/* ---- coming and going -------------------------------------------------------------------------------- */

TEST(one_vmm)
{
	int vmm;

	open_device();
	vmm = vmm_connect();
	CHECK_EQ(vmm_negotiate(vmm), 0);
	CHECK_EQ(vmm_read(vmm, 0, IVSHMEM_REG_IV_POSITION), 5);
	CHECK_EQ(vmm_read(vmm, 7, 0), 0x11101af4);
	close(vmm);
	close_device();
}

TEST(nobody_ever_comes)
{
	prepare_device(1, 0);
	vfio_user_free(device.vfio_user);
	remove_device();
	open_device();
	close_device();
}

/* What a VMM gave goes with it, at once and not only when the next one comes. */
TEST(nothing_is_left_of_a_vmm)
{
	unsigned before;
	int vmm, fd;

	prepare_device(0, 0);
	before = test_open_fds();
	start_device();
	for (unsigned i = 0; i < 3; i++) {
		vmm = vmm_connect();
		CHECK_EQ(vmm_negotiate(vmm), 0);
		fd = new_eventfd();
		vmm_set_eventfd(
			vmm, VFIO_USER_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_INTX_IRQ_INDEX, 0, fd);
		vmm_set_eventfd(
			vmm, VFIO_USER_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX, 0, fd);
		vmm_set_eventfd(
			vmm, VFIO_USER_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_ERR_IRQ_INDEX, 0, fd);
		CHECK_EQ(test_open_fds(), before + 6);
		close(fd);
		close(vmm);
		while (test_open_fds() > before)
			usleep(1000);
	}
	CHECK_EQ(test_open_fds(), before);
	close_device();
}

/* The old connection is closed, the new one is opened at once: nobody is refused. */
static void
check_reconnect(uint64_t spin_ns)
{
	prepare_device(1, spin_ns);
	start_device();
	for (uint32_t i = 0; i < 300; i++) {
		int vmm = vmm_connect();

		CHECK_EQ(vmm_negotiate(vmm), 0);
		/* A device as after power-on, with the memory as it was. */
		CHECK_EQ(vmm_read(vmm, 0, IVSHMEM_REG_INTR_MASK), 0);
		CHECK_EQ(vmm_read(vmm, 2, 0), i);
		vmm_write(vmm, i % 2 ? VFIO_USER_NO_REPLY : 0, 0, IVSHMEM_REG_INTR_MASK, 1);
		vmm_write(vmm, i % 2 ? VFIO_USER_NO_REPLY : 0, 2, 0, i + 1);
		/* Some leave with a question that nobody waits for. */
		if (i % 3 == 0)
			vmm_send_version(vmm);
		close(vmm);
	}
	close_device();
}

TEST_WITH(reconnect_at_once, .timeout_s = 120)
{
	check_reconnect(0);
}

TEST_WITH(reconnect_at_once_spinning, .timeout_s = 120)
{
	check_reconnect(20000);
}

TEST(second_vmm_is_told_that_it_is_second)
{
	int first, second;

	open_device();
	first = vmm_connect();
	CHECK_EQ(vmm_negotiate(first), 0);
	for (unsigned i = 0; i < 10; i++) {
		second = vmm_connect();
		CHECK_EQ(vmm_negotiate(second), EBUSY);
		check_end(second);
		CHECK_EQ(vmm_read(first, 0, IVSHMEM_REG_IV_POSITION), 5);
	}
	close(first);
	second = vmm_connect();
	CHECK_EQ(vmm_negotiate(second), 0);
	close(second);
	close_device();
}

/* Each is another process for all the log knows, and yet it is not filled. */
TEST(log_is_not_filled)
{
	int first;

	open_device();
	first = vmm_connect();
	CHECK_EQ(vmm_negotiate(first), 0);
	for (unsigned i = 0; i < 100; i++) {
		int second = vmm_connect();

		CHECK_EQ(vmm_negotiate(second), EBUSY);
		check_end(second);
	}
	close(first);
	for (unsigned i = 0; i < 100; i++) {
		int vmm = vmm_connect();

		vmm_send(vmm, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);
		CHECK_EQ(vmm_receive(vmm, NULL, 0), EINVAL);
		check_end(vmm);
	}
	close_device();
	/* And one for the number of the others. */
	CHECK_EQ(stage.n_warnings, PACE_LINES + 1);
}

/* What cannot be a message is answered, and ends the connection. */
TEST(impossible_size)
{
	const uint32_t sizes[] = {0, 15, 0x7fffffff};

	open_device();
	for (unsigned i = 0; i < 6; i++) {
		struct vfio_user_header header = {
			.id = 9, .command = 9, .size = sizes[i % 3], .flags = i < 3 ? 0 : 0x10};
		int vmm = vmm_connect();

		CHECK_EQ(vmm_negotiate(vmm), 0);
		CHECK_EQ(fdpass_send(vmm, &header, HEADER, &vmm, 1), HEADER);
		if (i < 3)
			CHECK_EQ(vmm_receive(vmm, NULL, 0), EINVAL);
		check_end(vmm);
	}
	close_device();
}

TEST(no_reply)
{
	int vmm;

	open_device();
	vmm = vmm_connect();
	/* Not even to what fails, and not to VERSION. */
	vmm_send(vmm, VFIO_USER_VERSION, VFIO_USER_NO_REPLY, "\0\0\1\0{}", 7, NULL, 0);
	vmm_send(vmm, 99, VFIO_USER_NO_REPLY, NULL, 0, NULL, 0);
	vmm_send(vmm, VFIO_USER_DEVICE_SET_IRQS, VFIO_USER_NO_REPLY, "", 1, &vmm, 1);
	vmm_write(vmm, VFIO_USER_NO_REPLY, 0, IVSHMEM_REG_INTR_MASK, 7);
	CHECK_EQ(vmm_read(vmm, 0, IVSHMEM_REG_INTR_MASK), 7);
	close(vmm);
	vmm = vmm_connect();
	vmm_send(vmm, VFIO_USER_VERSION, VFIO_USER_NO_REPLY, "\1\0\1\0{}", 7, NULL, 0);
	check_end(vmm);
	close_device();
}

/* ---- interrupts and peers, while a VMM is there -------------------------------------------------------- */

TEST(rings_in_both_directions)
{
	int vmm, own, peer, guest = new_eventfd();

	open_device();
	own = give_vector(5);
	peer = give_vector(7);
	vmm = vmm_connect();
	CHECK_EQ(vmm_negotiate(vmm), 0);
	vmm_set_eventfd(vmm, VFIO_USER_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, guest);
	for (unsigned i = 0; i < 300; i++) {
		CHECK_SYS(eventfd_write(own, 1));
		wait_for_event(guest);
		do
			vmm_write(vmm, 0, 0, IVSHMEM_REG_DOORBELL, 7 << 16);
		while (stage_count(peer) == 0); /* the loop has yet to hear of it */
	}
	/* Gone: nothing is written any more, and nothing kept for the next. */
	close(vmm);
	vmm = vmm_connect();
	CHECK_EQ(vmm_negotiate(vmm), 0);
	CHECK_SYS(eventfd_write(own, 1));
	CHECK_EQ(vmm_read(vmm, 0, 0), 0);
	CHECK_EQ(stage_count(guest), 0);
	close(vmm);
	close_device();
	close(own);
	close(peer);
	close(guest);
}

/* INTx with resampling: the loop's thread reads what the VMM writes without a message. */
TEST(pin)
{
	int vmm, own, guest = new_eventfd(), resample = new_eventfd();

	prepare_device(0, 0);
	start_device();
	own = give_vector(5);
	vmm = vmm_connect();
	CHECK_EQ(vmm_negotiate(vmm), 0);
	vmm_set_eventfd(vmm, VFIO_USER_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_INTX_IRQ_INDEX, 0, guest);
	vmm_set_eventfd(vmm, VFIO_USER_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX, 0, resample);
	vmm_write(vmm, 0, 0, IVSHMEM_REG_INTR_MASK, 1);
	for (unsigned i = 0; i < 300; i++) {
		CHECK_SYS(eventfd_write(own, 1));
		wait_for_event(guest);
		/* Not looked at yet: it comes again. */
		CHECK_SYS(eventfd_write(resample, 1));
		wait_for_event(guest);
		CHECK_EQ(vmm_read(vmm, 0, IVSHMEM_REG_INTR_STATUS), 1);
		if (i % 2)
			vmm_set_eventfd(vmm, VFIO_USER_IRQ_SET_ACTION_UNMASK,
				VFIO_PCI_INTX_IRQ_INDEX, 0, resample);
		CHECK_SYS(eventfd_write(resample, 1));
	}
	close(vmm);
	close_device();
	close(own);
	close(guest);
	close(resample);
}

struct flood {
	int vmm;
	pid_t pid;
};

/*
 * A process that writes as fast as it can, and never reads; when it can no longer, it looks at how the
 * connection ended.
 */
static struct flood
begin_flood(int vmm, bool want_replies)
{
	struct flood flood = {vmm, test_fork()};

	if (flood.pid == 0) {
		struct vfio_user_region_access access = {IVSHMEM_REG_DOORBELL, 0, 4};
		struct vfio_user_header header = {.id = 9,
			.command = VFIO_USER_REGION_WRITE,
			.size = HEADER + 20,
			.flags = want_replies ? 0 : VFIO_USER_NO_REPLY};
		uint8_t bytes[64 * (HEADER + 20)] = {0};
		ssize_t n;

		for (unsigned i = 0; i < 64; i++) {
			memcpy(bytes + i * (HEADER + 20), &header, HEADER);
			memcpy(bytes + i * (HEADER + 20) + HEADER, &access, 16);
		}
		while (send(vmm, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
			;
		CHECK_EQ(errno, EPIPE);
		do
			n = recv(vmm, bytes, sizeof(bytes), 0);
		while (n > 0);
		if (n < 0)
			fprintf(stderr, "the connection ended with %s\n", strerror(errno));
		_exit(n == 0 ? 0 : 1);
	}
	return flood;
}

/* While a VMM floods the device, the loop does its work: peers, rings, other VMMs, and the end. */
static void
check_flood(bool want_replies, uint64_t spin_ns)
{
	int vmm, own, guest = new_eventfd();
	struct flood flood;

	prepare_device(1, spin_ns);
	start_device();
	own = give_vector(5);
	vmm = vmm_connect();
	CHECK_EQ(vmm_negotiate(vmm), 0);
	vmm_set_eventfd(vmm, VFIO_USER_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, guest);
	flood = begin_flood(vmm, want_replies);
	for (unsigned i = 0; i < 100; i++) {
		int second;

		CHECK_SYS(eventfd_write(own, 1));
		wait_for_event(guest);
		second = vmm_connect();
		CHECK_EQ(vmm_negotiate(second), EBUSY);
		check_end(second);
	}
	close_device();
	close(vmm);
	test_join(flood.pid);
	close(own);
	close(guest);
}

TEST_WITH(flood_of_writes, .timeout_s = 120)
{
	check_flood(false, 0);
}

TEST_WITH(flood_of_writes_spinning, .timeout_s = 120)
{
	check_flood(false, 1000000);
}

/* The device waits for room in the socket, and nobody else with it. */
TEST_WITH(flood_without_reading, .timeout_s = 120)
{
	check_flood(true, 0);
}

/* The other way round: peers ring without end, and the VMM's accesses are answered. */
TEST_WITH(flood_of_rings, .timeout_s = 120)
{
	int vmm, own, guest = new_eventfd();
	pid_t pid;

	open_device();
	own = give_vector(5);
	vmm = vmm_connect();
	CHECK_EQ(vmm_negotiate(vmm), 0);
	vmm_set_eventfd(vmm, VFIO_USER_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, guest);
	pid = test_fork();
	if (pid == 0)
		for (;;)
			eventfd_write(own, 1);
	wait_for_event(guest);
	for (unsigned i = 0; i < 300; i++)
		CHECK_EQ(vmm_read(vmm, 0, IVSHMEM_REG_IV_POSITION), 5);
	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, NULL, 0));
	close(vmm);
	close_device();
	close(own);
	close(guest);
}

/* ---- the end, with somebody there ---------------------------------------------------------------------- */

TEST(end_with_a_silent_vmm)
{
	for (unsigned i = 0; i < 3; i++) {
		int vmm;

		prepare_device(1, i == 2 ? 50000000 : 0);
		start_device();
		vmm = vmm_connect();
		CHECK_EQ(vmm_negotiate(vmm), 0);
		/* In the middle of a message. */
		if (i == 1)
			CHECK_EQ(send(vmm, "x", 1, 0), 1);
		stop_device();
		check_end(vmm);
		remove_device();
	}
}

/* Those who were not let in yet are not reset, either, and those who come too late are refused. */
TEST(end_with_vmms_at_the_door)
{
	int vmms[5], late;

	prepare_device(1, 0);
	for (unsigned i = 0; i < 5; i++) {
		vmms[i] = vmm_connect();
		vmm_send_version(vmms[i]);
	}
	vfio_user_free(device.vfio_user);
	for (unsigned i = 0; i < 5; i++)
		check_end(vmms[i]);
	late = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CHECK_EQ(connect(late, (const struct sockaddr *)&device.address, sizeof(device.address)),
		-1);
	CHECK_EQ(errno, ECONNREFUSED);
	close(late);
	remove_device();
}

/* One that has the device, one that is being refused and says nothing. */
TEST(end_with_a_second_vmm)
{
	int first, second, third;

	open_device();
	first = vmm_connect();
	CHECK_EQ(vmm_negotiate(first), 0);
	second = vmm_connect();
	/* When the third has its answer, the second was seen. */
	third = vmm_connect();
	CHECK_EQ(vmm_negotiate(third), EBUSY);
	check_end(third);
	stop_device();
	check_end(second);
	check_end(first);
	remove_device();
}

/* The VMM is gone, and at the same moment the device ends. */
TEST_WITH(end_at_the_same_time, .timeout_s = 120)
{
	for (unsigned i = 0; i < 100; i++) {
		int vmm;

		open_device();
		vmm = vmm_connect();
		CHECK_EQ(vmm_negotiate(vmm), 0);
		close(vmm);
		close_device();
	}
}

/* ---- no descriptors left ------------------------------------------------------------------------------- */

/* Who cannot be accepted waits, without filling the log or the processor, and is served later. */
TEST_WITH(no_descriptors_left, .timeout_s = 60)
{
	struct rlimit limit, less;
	int vmm, next;

	open_device();
	vmm = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	less = limit;
	next = CHECK_SYS(fcntl(0, F_DUPFD_CLOEXEC, 0));
	close(next);
	less.rlim_cur = (rlim_t)next;
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &less));
	CHECK_SYS(connect(vmm, (const struct sockaddr *)&device.address, sizeof(device.address)));
	vmm_send_version(vmm);
	/* Long enough for many a try, were there no pause. */
	usleep(300000);
	CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_EQ(
		vmm_receive(vmm, (char[4 + sizeof(VERSION_TEXT)]){0}, 4 + sizeof(VERSION_TEXT)), 0);
	close(vmm);
	close_device();
	CHECK(stage.n_warnings >= 1 && stage.n_warnings <= 3);
	CHECK_HAS(stage.warning, "a VMM cannot be let in");
}
