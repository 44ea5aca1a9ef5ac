/* SPDX-License-Identifier: BSD-2-Clause */

/* The guest rings: through ioeventfds, or through this process. */

#include "kvm_group.h"

#include <ivshmem/abi.h>
#include <test.h>

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct scene {
	struct group group;
	struct device device;          /* id 0 */
	struct ivshmem_client *client; /* id 1 */
};

/* The device has two vectors of each peer to ring: its own, and the client's. */
static void
scene_prepare(struct scene *scene)
{
	group_open(&scene->group, 2);
	device_prepare(&scene->device, &scene->group, 1, 2);
	device_attach(&scene->device);
	scene->client = group_join(&scene->group);
	DEVICE_UNTIL(&scene->device, ivshmem_kvm_peer_vectors(scene->device.kvm, 1) == 2);
}

static void
scene_open(struct scene *scene)
{
	scene_prepare(scene);
	device_place(&scene->device);
}

static void
scene_close(struct scene *scene)
{
	device_close(&scene->device);
	scene->client = ivshmem_detach(scene->client);
	group_close(&scene->group);
}

/* The guest rings the client, which is to hear it; returns whether KVM handed the access out. */
static bool
ring_at(struct scene *scene, uint32_t bar0, unsigned vector)
{
	struct machine *machine = &scene->device.machine;
	unsigned exits = machine->exits;

	machine_store(machine, bar0 + 12, ivshmem_doorbell_value(1, (uint16_t)vector));
	CHECK_EQ(ivshmem_wait(scene->client, (int)vector, 20000), 0);
	CHECK_EQ(ivshmem_take(scene->client, vector), 1);
	return machine->exits > exits;
}

static unsigned
ioeventfds(struct scene *scene)
{
	return device_status(&scene->device).ioeventfds;
}

TEST(a_ring_needs_nobody)
{
	struct scene scene;

	scene_open(&scene);
	CHECK_EQ(ioeventfds(&scene), 4);
	CHECK(!ring_at(&scene, AT_BAR0, 0));
	CHECK(!ring_at(&scene, AT_BAR0, 1));
	CHECK_EQ(device_status(&scene.device).rings, 0);
	scene_close(&scene);
}

TEST(nobody_is_rung_by_other_values_and_addresses)
{
	static const uint32_t values[] = {0x10002, 0x1ffff, 0x20000, 0xffffffff};
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		machine_store(machine, AT_BAR0 + 12, values[i]);
	machine_store(machine, AT_BAR0 + 16, 0x10000);
	machine_store(machine, AT_BAR0 + 8, 0x10000);
	CHECK_EQ(machine->exits, 6);
	CHECK_EQ(device_status(&scene.device).rings, 0);
	/* The client heard the one after them, and none of them. */
	CHECK(!ring_at(&scene, AT_BAR0, 0));
	CHECK_EQ(ivshmem_pending(scene.client, 1), 0);
	scene_close(&scene);
}

TEST(the_doorbell_follows_the_bar)
{
	const uint32_t other = AT_BAR0 + 0x8000;
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	device_config_put(&scene.device, 0x10, 4, other);
	CHECK_EQ(ioeventfds(&scene), 4);
	CHECK(!ring_at(&scene, other, 0));
	machine_store(machine, AT_BAR0 + 12, ivshmem_doorbell_value(1, 0));
	CHECK_EQ(machine->exits, 1);
	device_command(&scene.device, COMMAND_MASTER);
	CHECK_EQ(ioeventfds(&scene), 0);
	machine_store(machine, other + 12, ivshmem_doorbell_value(1, 0));
	CHECK_EQ(machine->exits, 2);
	device_config_put(&scene.device, 0x10, 4, AT_BAR0);
	device_command(&scene.device, COMMAND_DECODE);
	CHECK_EQ(ioeventfds(&scene), 4);
	/* Neither of the two that went nowhere is heard now. */
	CHECK(!ring_at(&scene, AT_BAR0, 0));
	CHECK_EQ(device_status(&scene.device).rings, 0);
	scene_close(&scene);
}

TEST(peers_come_and_go)
{
	struct ivshmem_client *second;
	struct scene scene;
	struct machine *machine = &scene.device.machine;
	uint16_t id;

	scene_open(&scene);
	second = group_join(&scene.group);
	id = ivshmem_id(second);
	DEVICE_UNTIL(&scene.device, ioeventfds(&scene) == 6);
	machine_store(machine, AT_BAR0 + 12, ivshmem_doorbell_value(id, 1));
	CHECK_EQ(ivshmem_wait(second, 1, 20000), 0);
	CHECK_EQ(machine->exits, 0);

	second = ivshmem_detach(second);
	DEVICE_UNTIL(&scene.device, ioeventfds(&scene) == 4);
	CHECK_EQ(ivshmem_kvm_peer_vectors(scene.device.kvm, id), 0);
	machine_store(machine, AT_BAR0 + 12, ivshmem_doorbell_value(id, 1));
	CHECK_EQ(machine->exits, 1);
	CHECK(!ring_at(&scene, AT_BAR0, 0));
	CHECK_EQ(scene.device.journal.warnings, 0);
	scene_close(&scene);
}

TEST(ioeventfd_off)
{
	struct scene scene;

	group_open(&scene.group, 2);
	device_prepare(&scene.device, &scene.group, 1, 2);
	scene.device.config.ioeventfd = false;
	device_attach(&scene.device);
	scene.client = group_join(&scene.group);
	DEVICE_UNTIL(&scene.device, ivshmem_kvm_peer_vectors(scene.device.kvm, 1) == 2);
	device_place(&scene.device);
	CHECK_EQ(ioeventfds(&scene), 0);
	CHECK(ring_at(&scene, AT_BAR0, 1));
	CHECK_EQ(device_status(&scene.device).rings, 1);
	scene_close(&scene);
}

TEST(a_kernel_without_room_for_ioeventfds)
{
	struct scene scene;

	scene_prepare(&scene);
	refuse_ioctl(KVM_IOEVENTFD, ENOSPC);
	device_place(&scene.device);
	CHECK_EQ(ioeventfds(&scene), 0);
	CHECK(ring_at(&scene, AT_BAR0, 0));
	CHECK(ring_at(&scene, AT_BAR0, 1));
	CHECK_EQ(device_status(&scene.device).rings, 2);
	/* The guest makes it ask again, and nobody is told again. */
	for (unsigned i = 0; i < 10; i++) {
		device_command(&scene.device, 0);
		device_command(&scene.device, COMMAND_DECODE);
	}
	CHECK(ring_at(&scene, AT_BAR0, 0));
	CHECK_EQ(scene.device.journal.warnings, 1);
	CHECK(strstr(scene.device.journal.warning, "does not add an ioeventfd"));
	scene_close(&scene);
}

/* Somebody has one of the doorbells already. What there was before stays, and ends in time. */
TEST(an_occupied_doorbell)
{
	struct kvm_ioeventfd taken = {.addr = AT_BAR0 + 12,
		.len = 4,
		.datamatch = ivshmem_doorbell_value(1, 1),
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH};
	struct scene scene;

	scene_prepare(&scene);
	taken.fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
	CHECK_SYS(ioctl(scene.device.machine.fd, KVM_IOEVENTFD, &taken));
	device_place(&scene.device);
	CHECK_EQ(ioeventfds(&scene), 3);
	CHECK_EQ(scene.device.journal.warnings, 1);
	CHECK(!ring_at(&scene, AT_BAR0, 0));
	taken.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	CHECK_SYS(ioctl(scene.device.machine.fd, KVM_IOEVENTFD, &taken));
	CHECK(ring_at(&scene, AT_BAR0, 1));
	device_config_put(&scene.device, 0x10, 4, AT_BAR0 + 0x1000);
	CHECK_EQ(ioeventfds(&scene), 4);
	CHECK(!ring_at(&scene, AT_BAR0 + 0x1000, 1));
	CHECK_EQ(scene.device.journal.warnings, 1);
	close(taken.fd);
	scene_close(&scene);
}

/* The device has itself among those that it can ring. */
TEST(ringing_oneself)
{
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	device_entry(&scene.device, 1, 0x45, false);
	device_msix(&scene.device, MSIX_ENABLE);
	machine_store(machine, AT_BAR0 + 12, ivshmem_doorbell_value(0, 1));
	CHECK(machine_wait_interrupt(machine, 0x45));
	CHECK_EQ(machine->exits, 0);
	scene_close(&scene);
}
