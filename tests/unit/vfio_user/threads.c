/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * VMMs that connect, behave in every way, and go, at a device that serves them with both its threads. It
 * also runs with the thread sanitizer: meson setup -Db_sanitize=thread.
 */

#include <base/pace.h>
#include <irq_words.h>
#include <vfio_user_vmm.h>

#include <errno.h>
#include <fcntl.h>
#include <fdpass.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEADER sizeof(struct vfio_user_header)

/* The one that has the device, where there is one from the beginning to the end. */
static struct vfio_client vmm;

static void
begin(void)
{
	open_device();
	vmm_open(&vmm);
}

static void
end(void)
{
	vfio_client_close(&vmm);
	close_device();
}

#define VMM_TEST(name) TEST_WITH(name, .begin = begin, .end = end, .timeout_s = 60)

/* The eventfd of interrupt 0. */
static void
set_eventfd(uint32_t action, uint32_t index, int fd)
{
	CHECK_EQ(vfio_client_set_irq(&vmm, action, index, 0, fd), 0);
}

/* ---- coming and going -------------------------------------------------------------------------------- */

VMM_TEST(one_vmm)
{
	CHECK_EQ(vmm_read(&vmm, 0, IVSHMEM_REG_IV_POSITION), 5);
	CHECK_EQ(vmm_read(&vmm, 7, 0), 0x11101af4);
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
	int fd = test_eventfd();

	prepare_device(0, 0);
	before = test_open_fds();
	start_device();
	for (unsigned i = 0; i < 3; i++) {
		vmm_open(&vmm);
		set_eventfd(TRIGGER, INTX, fd);
		set_eventfd(UNMASK, INTX, fd);
		set_eventfd(TRIGGER, ERR, fd);
		/* Both ends of the connection are ours. */
		CHECK_EQ(test_open_fds(), before + 5);
		vfio_client_close(&vmm);
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
		uint32_t flags = i % 2 ? VFIO_USER_NO_REPLY : 0;

		vmm_open(&vmm);
		/* A device as after power-on, with the memory as it was. */
		CHECK_EQ(vmm_read(&vmm, 0, IVSHMEM_REG_INTR_MASK), 0);
		CHECK_EQ(vmm_read(&vmm, 2, 0), i);
		vmm_write(&vmm, flags, 0, IVSHMEM_REG_INTR_MASK, 1);
		vmm_write(&vmm, flags, 2, 0, i + 1);
		/* Some leave with a question that nobody waits for. */
		if (i % 3 == 0)
			vmm_send_version(&vmm);
		vfio_client_close(&vmm);
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

VMM_TEST(second_vmm_is_told_that_it_is_second)
{
	for (unsigned i = 0; i < 10; i++) {
		vmm_is_refused();
		CHECK_EQ(vmm_read(&vmm, 0, IVSHMEM_REG_IV_POSITION), 5);
	}
	vfio_client_close(&vmm);
	vmm_open(&vmm);
}

/* Each is another process for all the log knows, and yet it is not filled. */
TEST(log_is_not_filled)
{
	begin();
	for (unsigned i = 0; i < 100; i++)
		vmm_is_refused();
	vfio_client_close(&vmm);
	for (unsigned i = 0; i < 100; i++) {
		vmm_connect(&vmm);
		CHECK_EQ(vfio_client_reset(&vmm), -EINVAL);
		check_end(&vmm);
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

		vmm_open(&vmm);
		CHECK_EQ(fdpass_send(vmm.socket, &header, HEADER, &vmm.socket, 1), HEADER);
		vmm.requests = header.id;
		if (i < 3)
			CHECK_EQ(vfio_client_receive(
					 &vmm, &(struct vfio_exchange){.command = header.command}),
				-EINVAL);
		check_end(&vmm);
	}
	close_device();
}

TEST(no_reply)
{
	open_device();
	vmm_connect(&vmm);
	/* Not even to what fails, and not to VERSION. */
	vmm_send(&vmm, VFIO_USER_VERSION, VFIO_USER_NO_REPLY, "\0\0\1\0{}", 7);
	vmm_send(&vmm, 99, VFIO_USER_NO_REPLY, NULL, 0);
	vmm_send(&vmm, VFIO_USER_DEVICE_SET_IRQS, VFIO_USER_NO_REPLY, "", 1);
	vmm_write(&vmm, VFIO_USER_NO_REPLY, 0, IVSHMEM_REG_INTR_MASK, 7);
	CHECK_EQ(vmm_read(&vmm, 0, IVSHMEM_REG_INTR_MASK), 7);
	vfio_client_close(&vmm);
	vmm_connect(&vmm);
	vmm_send(&vmm, VFIO_USER_VERSION, VFIO_USER_NO_REPLY, "\1\0\1\0{}", 7);
	check_end(&vmm);
	close_device();
}

/* ---- interrupts and peers, while a VMM is there -------------------------------------------------------- */

VMM_TEST(rings_in_both_directions)
{
	int own = give_vector(5), peer = give_vector(7), guest = test_eventfd();

	set_eventfd(TRIGGER, MSIX, guest);
	for (unsigned i = 0; i < 300; i++) {
		ring(own);
		wait_for_event(guest);
		do
			vmm_write(&vmm, 0, 0, IVSHMEM_REG_DOORBELL, 7 << 16);
		while (stage_count(peer) == 0); /* the loop has yet to hear of it */
	}
	/* Gone: nothing is written any more, and nothing kept for the next. */
	vfio_client_close(&vmm);
	vmm_open(&vmm);
	ring(own);
	CHECK_EQ(vmm_read(&vmm, 0, 0), 0);
	CHECK_EQ(stage_count(guest), 0);
}

/* INTx with resampling: the loop's thread reads what the VMM writes without a message. */
TEST(pin)
{
	int own, guest = test_eventfd(), resample = test_eventfd();

	prepare_device(0, 0);
	start_device();
	own = give_vector(5);
	vmm_open(&vmm);
	set_eventfd(TRIGGER, INTX, guest);
	set_eventfd(UNMASK, INTX, resample);
	vmm_write(&vmm, 0, 0, IVSHMEM_REG_INTR_MASK, 1);
	for (unsigned i = 0; i < 300; i++) {
		ring(own);
		wait_for_event(guest);
		/* Not looked at yet: it comes again. */
		ring(resample);
		wait_for_event(guest);
		CHECK_EQ(vmm_read(&vmm, 0, IVSHMEM_REG_INTR_STATUS), 1);
		if (i % 2)
			set_eventfd(UNMASK, INTX, resample);
		ring(resample);
	}
	end();
}

/*
 * A process that writes as fast as it can, and never reads; when it can no longer, it looks at how the
 * connection ended.
 */
static pid_t
begin_flood(bool want_replies)
{
	struct vfio_user_region_access access = {IVSHMEM_REG_DOORBELL, 0, 4};
	struct vfio_user_header header = {.id = 9,
		.command = VFIO_USER_REGION_WRITE,
		.size = HEADER + 20,
		.flags = want_replies ? 0 : VFIO_USER_NO_REPLY};
	uint8_t bytes[64 * (HEADER + 20)] = {0};
	pid_t pid = test_fork();
	ssize_t n;

	if (pid > 0)
		return pid;
	for (unsigned i = 0; i < 64; i++) {
		memcpy(bytes + i * (HEADER + 20), &header, HEADER);
		memcpy(bytes + i * (HEADER + 20) + HEADER, &access, 16);
	}
	while (send(vmm.socket, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
		;
	CHECK_EQ(errno, EPIPE);
	do
		n = recv(vmm.socket, bytes, sizeof(bytes), 0);
	while (n > 0);
	if (n < 0)
		fprintf(stderr, "the connection ended with %s\n", strerror(errno));
	_exit(n == 0 ? 0 : 1);
}

/* While a VMM floods the device, the loop does its work: peers, rings, other VMMs, and the end. */
static void
check_flood(bool want_replies, uint64_t spin_ns)
{
	int own, guest = test_eventfd();
	pid_t flood;

	prepare_device(1, spin_ns);
	start_device();
	own = give_vector(5);
	vmm_open(&vmm);
	set_eventfd(TRIGGER, MSIX, guest);
	flood = begin_flood(want_replies);
	for (unsigned i = 0; i < 100; i++) {
		ring(own);
		wait_for_event(guest);
		vmm_is_refused();
	}
	close_device();
	vfio_client_close(&vmm);
	test_join(flood);
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
VMM_TEST(flood_of_rings)
{
	int own = give_vector(5), guest = test_eventfd();
	pid_t pid;

	set_eventfd(TRIGGER, MSIX, guest);
	pid = test_fork();
	if (pid == 0)
		for (;;)
			eventfd_write(own, 1);
	wait_for_event(guest);
	for (unsigned i = 0; i < 300; i++)
		CHECK_EQ(vmm_read(&vmm, 0, IVSHMEM_REG_IV_POSITION), 5);
	CHECK_SYS(kill(pid, SIGKILL));
	CHECK_SYS(waitpid(pid, NULL, 0));
}

/* ---- the end, with somebody there ---------------------------------------------------------------------- */

TEST(end_with_a_silent_vmm)
{
	for (unsigned i = 0; i < 3; i++) {
		prepare_device(1, i == 2 ? 50000000 : 0);
		start_device();
		vmm_open(&vmm);
		/* In the middle of a message. */
		if (i == 1)
			CHECK_EQ(send(vmm.socket, "x", 1, 0), 1);
		stop_device();
		check_end(&vmm);
		remove_device();
	}
}

/* Those who were not let in yet are not reset, either, and those who come too late are refused. */
TEST(end_with_vmms_at_the_door)
{
	struct vfio_client vmms[5];

	prepare_device(1, 0);
	for (unsigned i = 0; i < 5; i++) {
		vmm_connect(&vmms[i]);
		vmm_send_version(&vmms[i]);
	}
	vfio_user_free(device.vfio_user);
	for (unsigned i = 0; i < 5; i++)
		check_end(&vmms[i]);
	CHECK_EQ(vfio_client_connect(&vmm, device.address.sun_path), -ECONNREFUSED);
	vfio_client_close(&vmm);
	remove_device();
}

/* One that has the device, one that is being refused and says nothing. */
TEST(end_with_a_second_vmm)
{
	struct vfio_client second;

	begin();
	vmm_connect(&second);
	/* When the third has its answer, the second was seen. */
	vmm_is_refused();
	stop_device();
	check_end(&second);
	check_end(&vmm);
	remove_device();
}

/* The VMM is gone, and at the same moment the device ends. */
TEST_WITH(end_at_the_same_time, .timeout_s = 120)
{
	for (unsigned i = 0; i < 100; i++) {
		begin();
		end();
	}
}

/* ---- no descriptors left ------------------------------------------------------------------------------- */

/* Who cannot be accepted waits, without filling the log or the processor, and is served later. */
TEST_WITH(no_descriptors_left, .timeout_s = 60)
{
	char text[sizeof(VERSION_TEXT)];
	struct vfio_user_version version;
	struct vfio_exchange reply = {.command = VFIO_USER_VERSION,
		.head = &version,
		.reply_head_length = sizeof(version),
		.reply_data = text,
		.reply_room = sizeof(text)};

	open_device();
	/* One for the VMM, none for the device. */
	test_limit_fds(1);
	vmm_connect(&vmm);
	vmm_send_version(&vmm);
	/* Long enough for many a try, were there no pause. */
	usleep(300000);
	test_unlimit_fds();
	CHECK_EQ(vfio_client_receive(&vmm, &reply), 0);
	end();
	CHECK(stage.n_warnings >= 1 && stage.n_warnings <= 3);
	CHECK_HAS(stage.warning, "a VMM cannot be let in");
}
