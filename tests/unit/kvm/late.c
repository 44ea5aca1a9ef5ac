/* SPDX-License-Identifier: BSD-2-Clause */

/* The server, played on foot: what comes late, and what it should not have sent. Revision 0 is created
 * before the server has said anything. */

#include "kvm_group.h"

#include <fdpass.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener, server, memory;

static void
open_late(void)
{
	static struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", test_directory());
	listener = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CHECK_SYS(bind(listener, (const struct sockaddr *)&address, sizeof(address)));
	CHECK_SYS(listen(listener, 1));
	memory = CHECK_SYS(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	CHECK_SYS(ftruncate(memory, GROUP_MEMORY));
	CHECK_SYS(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));

	device_prepare(0, 2);
	device.config.ioeventfd = true;
	device.kvm_config.server = address.sun_path;
	CHECK_EQ(ivshmem_kvm_new(&device.kvm, &device.kvm_config, NULL), 0);
	device.machine.device = device.kvm;
	server = CHECK_SYS(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

static void
close_late(void)
{
	device_close();
	close(server);
	close(listener);
	close(memory);
}

/* A message of the server, and that the device has read it. */
static void
say(int64_t number, int fd)
{
	struct pollfd ready = {.fd = ivshmem_kvm_fd(device.kvm), .events = POLLIN};

	CHECK_EQ(
		fdpass_send(server, &number, sizeof(number), &fd, fd >= 0 ? 1 : 0), sizeof(number));
	while (poll(&ready, 1, 0) == 1)
		CHECK_EQ(ivshmem_kvm_dispatch(device.kvm), 0);
}

static int
new_eventfd(void)
{
	return CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void
ring(int eventfd)
{
	const uint64_t one = 1;

	CHECK_EQ(write(eventfd, &one, sizeof(one)), sizeof(one));
}

TEST(everything_comes_while_the_guest_runs)
{
	_test_close_ int own = new_eventfd(), other = new_eventfd();
	uint64_t count;

	open_late();
	device_place();
	entry_write(0, 0x41, false);
	msix(MSIX_ENABLE);
	CHECK_EQ(ivshmem_kvm_id(device.kvm), IVSHMEM_DEVICE_NO_ID);
	CHECK(ivshmem_kvm_memory(device.kvm) == NULL);
	CHECK_EQ(ivshmem_kvm_memory_size(device.kvm), 0);
	CHECK_EQ(guest_load(AT_BAR0 + IVSHMEM_REG_IV_POSITION), UINT32_MAX);
	CHECK_EQ(guest_load(AT_BAR2), UINT32_MAX);
	CHECK_EQ(device.machine.exits, 2);

	say(IVSHMEM_WIRE_VERSION, -1);
	say(7, -1);
	CHECK_EQ(guest_load(AT_BAR0 + IVSHMEM_REG_IV_POSITION), UINT32_MAX);
	CHECK(!status().memory_mapped);
	say(IVSHMEM_WIRE_MEMORY, memory);
	CHECK_EQ(guest_load(AT_BAR0 + IVSHMEM_REG_IV_POSITION), 7);
	CHECK(status().memory_mapped);
	device.machine.exits = 0;
	guest_store(AT_BAR2 + 4, 4711);
	CHECK_EQ(((uint32_t *)ivshmem_kvm_memory(device.kvm))[1], 4711);

	/* Rung before we were told of it. */
	ring(own);
	say(7, own);
	CHECK_EQ(status().irqfds, 1);
	CHECK(wait_interrupt(0x41));
	say(3, other);
	CHECK_EQ(status().ioeventfds, 2);
	guest_store(AT_BAR0 + IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(3, 0));
	CHECK_EQ(read(other, &count, sizeof(count)), sizeof(count));
	CHECK_EQ(count, 1);
	say(3, -1);
	CHECK_EQ(status().ioeventfds, 1);
	CHECK_EQ(device.machine.exits, 0);
	close_late();
}

/* It keeps its number, and costs the other vectors nothing. */
TEST(something_else_than_an_eventfd)
{
	_test_close_ int null = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	_test_close_ int own = new_eventfd(), other = new_eventfd();
	uint64_t count;

	open_late();
	device_place();
	say(IVSHMEM_WIRE_VERSION, -1);
	say(7, -1);
	say(IVSHMEM_WIRE_MEMORY, memory);
	say(3, null);
	say(3, other);
	say(7, null);
	say(7, own);
	CHECK_EQ(ivshmem_kvm_peer_vectors(device.kvm, 3), 2);
	CHECK_EQ(status().ioeventfds, 2);
	entry_write(0, 0x41, false);
	entry_write(1, 0x42, false);
	msix(MSIX_ENABLE);
	CHECK_EQ(status().irqfds, 1);
	ring(own);
	CHECK(wait_interrupt(0x42));

	device.machine.exits = 0;
	guest_store(AT_BAR0 + IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(3, 1));
	CHECK_EQ(device.machine.exits, 0);
	CHECK_EQ(read(other, &count, sizeof(count)), sizeof(count));
	guest_store(AT_BAR0 + IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(3, 0));
	CHECK_EQ(device.machine.exits, 1);
	msix(0);
	command(0);
	CHECK_EQ(status().ioeventfds, 0);
	CHECK_EQ(status().irqfds, 0);
	/* One for each of the two, and about nothing else. */
	check_warnings(2, "something else than an eventfd");
	close_late();
}

/* A VMM cannot be ended by its device, but it is told that there is nothing to wait for. */
TEST(server_that_goes_before_the_memory)
{
	open_late();
	say(IVSHMEM_WIRE_VERSION, -1);
	say(7, -1);
	shutdown(server, SHUT_RDWR);
	DEVICE_UNTIL(device.warnings > 0);
	check_warnings(1, "will never get its id and its memory");
	CHECK(ivshmem_kvm_memory(device.kvm) == NULL);
	close_late();
}
