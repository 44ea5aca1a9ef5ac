/* SPDX-License-Identifier: BSD-2-Clause */

/* The guest rings by the words of BAR4 (doorbell_bar): through ioeventfds, or through this process. */

#include "kvm_group.h"

#include <ivshmem/abi.h>
#include <test.h>

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Two vectors each, so a peer has 8 bytes there. */
#define AT_BAR4  UINT32_C(0xd0100000)
#define ELSE     UINT32_C(0xd0200000)
#define PER_PEER 8u

struct scene {
	struct group group;
	struct device device;          /* id 0 */
	struct ivshmem_client *client; /* id 1 */
};

static void
scene_prepare(struct scene *scene, bool ioeventfd)
{
	group_open(&scene->group, 2);
	device_prepare(&scene->device, &scene->group, 1, 2);
	scene->device.config.doorbell_bar = true;
	scene->device.config.ioeventfd = ioeventfd;
	device_attach(&scene->device);
	scene->client = group_join(&scene->group);
	DEVICE_UNTIL(&scene->device, ivshmem_kvm_peer_vectors(scene->device.kvm, 1) == 2);
}

static void
place(struct scene *scene)
{
	device_config_put(&scene->device, 0x20, 4, AT_BAR4);
	device_place(&scene->device);
}

static void
scene_open(struct scene *scene)
{
	scene_prepare(scene, true);
	place(scene);
}

static void
scene_close(struct scene *scene)
{
	device_close(&scene->device);
	scene->client = ivshmem_detach(scene->client);
	group_close(&scene->group);
}

/* The guest writes `value`, and the client hears it on `vector`; returns whether KVM handed the access
 * out. */
static bool
ring_at(struct scene *scene, uint32_t address, uint32_t value, unsigned vector)
{
	struct machine *machine = &scene->device.machine;
	unsigned exits = machine->exits;

	machine_store(machine, address, value);
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
	/* two vectors of two peers, each twice */
	CHECK_EQ(ioeventfds(&scene), 8);
	CHECK(!ring_at(&scene, AT_BAR4 + PER_PEER, 1, 0));
	CHECK(!ring_at(&scene, AT_BAR4 + PER_PEER + 4, 1, 1));
	/* any value */
	CHECK(!ring_at(&scene, AT_BAR4 + PER_PEER + 4, 0, 1));
	CHECK(!ring_at(&scene, AT_BAR4 + PER_PEER, 0xffffffff, 0));
	/* and as ever */
	CHECK(!ring_at(&scene, AT_BAR0 + 12, ivshmem_doorbell_value(1, 1), 1));
	CHECK_EQ(device_status(&scene.device).rings, 0);
	CHECK_EQ(scene.device.journal.warnings, 0);
	scene_close(&scene);
}

TEST(other_words_ring_nobody)
{
	static const uint32_t offsets[] = {2 * PER_PEER, 1000 * PER_PEER, 65535 * PER_PEER + 4};
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
		machine_store(machine, AT_BAR4 + offsets[i], 1);
	CHECK_EQ(machine_load(machine, AT_BAR4 + PER_PEER), 0);
	CHECK_EQ(machine_load(machine, AT_BAR4 + 65535 * PER_PEER + 4), 0);
	CHECK_EQ(machine->exits, 5);
	CHECK_EQ(device_status(&scene.device).rings, 0);
	CHECK(!ring_at(&scene, AT_BAR4 + PER_PEER, 1, 0));
	CHECK_EQ(ivshmem_pending(scene.client, 1), 0);
	scene_close(&scene);
}

TEST(the_words_follow_the_bar)
{
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	device_config_put(&scene.device, 0x20, 4, ELSE);
	CHECK_EQ(ioeventfds(&scene), 8);
	CHECK(!ring_at(&scene, ELSE + PER_PEER, 1, 0));
	machine_store(machine, AT_BAR4 + PER_PEER, 1);
	CHECK_EQ(machine->exits, 1);
	/* While it is being sized, the register goes on. */
	device_config_put(&scene.device, 0x20, 4, 0xffffffff);
	device_config_put(&scene.device, 0x24, 4, 0xffffffff);
	CHECK_EQ(ioeventfds(&scene), 4);
	CHECK(!ring_at(&scene, AT_BAR0 + 12, ivshmem_doorbell_value(1, 0), 0));
	device_config_put(&scene.device, 0x20, 4, AT_BAR4);
	device_config_put(&scene.device, 0x24, 4, 0);
	CHECK_EQ(ioeventfds(&scene), 8);
	CHECK(!ring_at(&scene, AT_BAR4 + PER_PEER, 1, 0));
	device_command(&scene.device, COMMAND_MASTER);
	CHECK_EQ(ioeventfds(&scene), 0);
	machine_store(machine, AT_BAR4 + PER_PEER, 1);
	CHECK_EQ(machine->exits, 2);
	CHECK_EQ(device_status(&scene.device).rings, 0);
	CHECK_EQ(scene.device.journal.warnings, 0);
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
	DEVICE_UNTIL(&scene.device, ioeventfds(&scene) == 12);
	machine_store(machine, AT_BAR4 + id * PER_PEER + 4, 1);
	CHECK_EQ(ivshmem_wait(second, 1, 20000), 0);
	CHECK_EQ(machine->exits, 0);

	second = ivshmem_detach(second);
	DEVICE_UNTIL(&scene.device, ioeventfds(&scene) == 8);
	machine_store(machine, AT_BAR4 + id * PER_PEER + 4, 1);
	CHECK_EQ(machine->exits, 1);
	CHECK(!ring_at(&scene, AT_BAR4 + PER_PEER, 1, 0));
	CHECK_EQ(scene.device.journal.warnings, 0);
	scene_close(&scene);
}

TEST(ioeventfd_off)
{
	struct scene scene;

	scene_prepare(&scene, false);
	place(&scene);
	CHECK_EQ(ioeventfds(&scene), 0);
	CHECK(ring_at(&scene, AT_BAR4 + PER_PEER + 4, 1, 1));
	CHECK_EQ(device_status(&scene.device).rings, 1);
	scene_close(&scene);
}

TEST(a_kernel_without_room_for_ioeventfds)
{
	struct scene scene;

	scene_prepare(&scene, true);
	refuse_ioctl(KVM_IOEVENTFD, ENOSPC);
	place(&scene);
	CHECK_EQ(ioeventfds(&scene), 0);
	CHECK(ring_at(&scene, AT_BAR4 + PER_PEER, 1, 0));
	CHECK(ring_at(&scene, AT_BAR0 + 12, ivshmem_doorbell_value(1, 1), 1));
	CHECK_EQ(scene.device.journal.warnings, 1);
	CHECK(strstr(scene.device.journal.warning, "does not add an ioeventfd"));
	scene_close(&scene);
}

/* Somebody has the address of a word. The register's ones do not depend on it. */
TEST(an_occupied_word)
{
	struct kvm_ioeventfd taken = {.addr = AT_BAR4 + PER_PEER, .len = 4};
	struct scene scene;

	scene_prepare(&scene, true);
	taken.fd = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
	CHECK_SYS(ioctl(scene.device.machine.fd, KVM_IOEVENTFD, &taken));
	place(&scene);
	CHECK_EQ(scene.device.journal.warnings, 1);
	CHECK_EQ(ioeventfds(&scene), 4 + 2);
	CHECK(!ring_at(&scene, AT_BAR0 + 12, ivshmem_doorbell_value(1, 1), 1));
	CHECK(ring_at(&scene, AT_BAR4 + PER_PEER + 4, 1, 1));
	taken.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	CHECK_SYS(ioctl(scene.device.machine.fd, KVM_IOEVENTFD, &taken));
	device_config_put(&scene.device, 0x20, 4, ELSE);
	CHECK_EQ(ioeventfds(&scene), 8);
	CHECK(!ring_at(&scene, ELSE + PER_PEER, 1, 0));
	CHECK_EQ(scene.device.journal.warnings, 1);
	close(taken.fd);
	scene_close(&scene);
}
