/* SPDX-License-Identifier: BSD-2-Clause */

/* The server, played on foot: what comes late, and what it should not have sent. Revision 0 is created
 * before the server has said anything. */

#include "kvm_group.h"

#include <fdpass.h>
#include <ivshmem/abi.h>
#include <test.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct scene {
	struct sockaddr_un address;
	int listener, socket, memory;
	struct device device;
};

static void
scene_open(struct scene *scene)
{
	memset(scene, 0, sizeof(*scene));
	scene->address.sun_family = AF_UNIX;
	snprintf(scene->address.sun_path, sizeof(scene->address.sun_path), "%s/socket",
		test_directory());
	scene->listener = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CHECK_SYS(bind(
		scene->listener, (const struct sockaddr *)&scene->address, sizeof(scene->address)));
	CHECK_SYS(listen(scene->listener, 1));
	scene->memory = CHECK_SYS(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	CHECK_SYS(ftruncate(scene->memory, GROUP_MEMORY));
	CHECK_SYS(fcntl(scene->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));

	device_prepare(&scene->device, NULL, 0, 2);
	scene->device.config.ioeventfd = true;
	scene->device.kvm_config.server = scene->address.sun_path;
	CHECK_EQ(ivshmem_kvm_new(&scene->device.kvm, &scene->device.kvm_config, NULL), 0);
	scene->device.machine.device = scene->device.kvm;
	scene->socket = CHECK_SYS(accept4(scene->listener, NULL, NULL, SOCK_CLOEXEC));
}

static void
scene_close(struct scene *scene)
{
	device_close(&scene->device);
	close(scene->socket);
	close(scene->listener);
	close(scene->memory);
}

/* A message of the server, and that the device has read it. */
static void
say(struct scene *scene, int64_t number, int fd)
{
	CHECK_EQ(fdpass_send(scene->socket, &number, sizeof(number), &fd, fd >= 0 ? 1 : 0),
		sizeof(number));
	while (poll(&(struct pollfd){.fd = ivshmem_kvm_fd(scene->device.kvm), .events = POLLIN}, 1,
		       0) == 1)
		CHECK_EQ(ivshmem_kvm_dispatch(scene->device.kvm), 0);
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
	struct scene scene;
	struct device *device = &scene.device;
	struct machine *machine = &scene.device.machine;
	int own = new_eventfd(), other = new_eventfd();
	uint64_t count;

	scene_open(&scene);
	device_place(device);
	device_entry(device, 0, 0x41, false);
	device_msix(device, MSIX_ENABLE);
	CHECK_EQ(ivshmem_kvm_id(device->kvm), IVSHMEM_DEVICE_NO_ID);
	CHECK(ivshmem_kvm_memory(device->kvm) == NULL);
	CHECK_EQ(ivshmem_kvm_memory_size(device->kvm), 0);
	CHECK_EQ(machine_load(machine, AT_BAR0 + IVSHMEM_REG_IV_POSITION), UINT32_MAX);
	CHECK_EQ(machine_load(machine, AT_BAR2), UINT32_MAX);
	CHECK_EQ(machine->exits, 2);

	say(&scene, IVSHMEM_WIRE_VERSION, -1);
	say(&scene, 7, -1);
	CHECK_EQ(machine_load(machine, AT_BAR0 + IVSHMEM_REG_IV_POSITION), UINT32_MAX);
	CHECK(!device_status(device).memory_mapped);
	say(&scene, IVSHMEM_WIRE_MEMORY, scene.memory);
	CHECK_EQ(machine_load(machine, AT_BAR0 + IVSHMEM_REG_IV_POSITION), 7);
	CHECK(device_status(device).memory_mapped);
	machine->exits = 0;
	machine_store(machine, AT_BAR2 + 4, 4711);
	CHECK_EQ(((uint32_t *)ivshmem_kvm_memory(device->kvm))[1], 4711);

	/* Rung before we were told of it. */
	ring(own);
	say(&scene, 7, own);
	CHECK_EQ(device_status(device).irqfds, 1);
	CHECK(machine_wait_interrupt(machine, 0x41));
	say(&scene, 3, other);
	CHECK_EQ(device_status(device).ioeventfds, 2);
	machine_store(machine, AT_BAR0 + IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(3, 0));
	CHECK_EQ(read(other, &count, sizeof(count)), sizeof(count));
	CHECK_EQ(count, 1);
	say(&scene, 3, -1);
	CHECK_EQ(device_status(device).ioeventfds, 1);
	CHECK_EQ(machine->exits, 0);
	close(own);
	close(other);
	scene_close(&scene);
}

/* It keeps its number, and costs the other vectors nothing. */
TEST(something_else_than_an_eventfd)
{
	struct scene scene;
	struct device *device = &scene.device;
	struct machine *machine = &scene.device.machine;
	int null = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	int own = new_eventfd(), other = new_eventfd();
	uint64_t count;

	scene_open(&scene);
	device_place(device);
	say(&scene, IVSHMEM_WIRE_VERSION, -1);
	say(&scene, 7, -1);
	say(&scene, IVSHMEM_WIRE_MEMORY, scene.memory);
	say(&scene, 3, null);
	say(&scene, 3, other);
	say(&scene, 7, null);
	say(&scene, 7, own);
	CHECK_EQ(ivshmem_kvm_peer_vectors(device->kvm, 3), 2);
	CHECK_EQ(device_status(device).ioeventfds, 2);
	device_entry(device, 0, 0x41, false);
	device_entry(device, 1, 0x42, false);
	device_msix(device, MSIX_ENABLE);
	CHECK_EQ(device_status(device).irqfds, 1);
	ring(own);
	CHECK(machine_wait_interrupt(machine, 0x42));

	machine->exits = 0;
	machine_store(machine, AT_BAR0 + IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(3, 1));
	CHECK_EQ(machine->exits, 0);
	CHECK_EQ(read(other, &count, sizeof(count)), sizeof(count));
	machine_store(machine, AT_BAR0 + IVSHMEM_REG_DOORBELL, ivshmem_doorbell_value(3, 0));
	CHECK_EQ(machine->exits, 1);
	device_msix(device, 0);
	device_command(device, 0);
	CHECK_EQ(device_status(device).ioeventfds, 0);
	CHECK_EQ(device_status(device).irqfds, 0);
	/* One for each of the two, and about nothing else. */
	CHECK_EQ(device->journal.warnings, 2);
	CHECK(strstr(device->journal.warning, "something else than an eventfd"));
	close(null);
	close(own);
	close(other);
	scene_close(&scene);
}

/* A VMM cannot be ended by its device, but it is told that there is nothing to wait for. */
TEST(server_that_goes_before_the_memory)
{
	struct scene scene;
	struct device *device = &scene.device;

	scene_open(&scene);
	say(&scene, IVSHMEM_WIRE_VERSION, -1);
	say(&scene, 7, -1);
	shutdown(scene.socket, SHUT_RDWR);
	CHECK(poll(&(struct pollfd){.fd = ivshmem_kvm_fd(device->kvm), .events = POLLIN}, 1, -1) ==
		1);
	CHECK_EQ(ivshmem_kvm_dispatch(device->kvm), 0);
	CHECK_EQ(device->journal.warnings, 1);
	CHECK(strstr(device->journal.warning, "will never get its id and its memory"));
	CHECK(ivshmem_kvm_memory(device->kvm) == NULL);
	scene_close(&scene);
}
