/* SPDX-License-Identifier: BSD-2-Clause */

/* The guest is rung: through irqfds, or through this process; now, or when it may be. */

#include "kvm_group.h"

#include <ivshmem/abi.h>
#include <test.h>

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct scene {
	struct group group;
	struct device device; /* id 0 */
	struct ivshmem_client *client;
};

#define VECTORS 4

/* MSI-X vector i is interrupt FIRST + i. */
#define FIRST 0x41

static void
scene_prepare(struct scene *scene)
{
	group_open(&scene->group, VECTORS);
	device_prepare(&scene->device, &scene->group, 1, VECTORS);
}

static void
scene_begin(struct scene *scene)
{
	device_attach(&scene->device);
	scene->client = group_join(&scene->group);
	while (ivshmem_peer_vectors(scene->client, 0) != VECTORS)
		CHECK(ivshmem_dispatch(scene->client, 1000) >= 0);
	device_place(&scene->device);
	for (unsigned i = 0; i < VECTORS; i++)
		device_entry(&scene->device, i, (uint8_t)(FIRST + i), false);
}

static void
scene_open(struct scene *scene)
{
	scene_prepare(scene);
	scene_begin(scene);
	device_msix(&scene->device, MSIX_ENABLE);
}

static void
scene_close(struct scene *scene)
{
	device_close(&scene->device);
	scene->client = ivshmem_detach(scene->client);
	group_close(&scene->group);
}

static void
ring(struct scene *scene, unsigned vector)
{
	CHECK_EQ(ivshmem_ring(scene->client, 0, vector), 0);
}

static bool
interrupted(struct scene *scene, unsigned vector)
{
	return machine_interrupted(&scene->device.machine, (uint8_t)(FIRST + vector));
}

static bool
wait_interrupt(struct scene *scene, unsigned vector)
{
	return machine_wait_interrupt(&scene->device.machine, (uint8_t)(FIRST + vector));
}

/* A ring arrives, is delivered by the kernel if `by_kernel`, and once. */
static void
check_ring(struct scene *scene, unsigned vector, bool by_kernel)
{
	uint64_t messages = device_status(&scene->device).messages;

	ring(scene, vector);
	if (!by_kernel)
		DEVICE_UNTIL(&scene->device, device_status(&scene->device).messages > messages);
	CHECK(wait_interrupt(scene, vector));
	device_wait(&scene->device);
	CHECK(!interrupted(scene, vector));
	CHECK_EQ(device_status(&scene->device).messages, messages + (by_kernel ? 0 : 1));
	CHECK(!device_pending(&scene->device, vector));
}

/* A ring that must wait is a pending bit, and then one message. */
static void
check_kept(struct scene *scene, unsigned vector)
{
	for (unsigned i = 0; i < 3; i++)
		ring(scene, vector);
	/* The bit is there at once, without any dispatch. */
	CHECK(device_pending(&scene->device, vector));
	CHECK(!interrupted(scene, vector));
}

static void
check_delivered(struct scene *scene, unsigned vector)
{
	CHECK(wait_interrupt(scene, vector));
	CHECK(!device_pending(&scene->device, vector));
	device_wait(&scene->device);
	CHECK(!interrupted(scene, vector));
}

TEST(a_ring_needs_nobody)
{
	struct scene scene;

	scene_open(&scene);
	CHECK_EQ(device_status(&scene.device).irqfds, VECTORS);
	for (unsigned i = 0; i < 100; i++)
		check_ring(&scene, i % VECTORS, true);
	scene_close(&scene);
}

/* MSI-X goes on for all vectors at once: one change of the VM's routes. */
TEST(routes_change_only_if_they_differ)
{
	struct scene scene;

	scene_open(&scene);
	CHECK_EQ(device_status(&scene.device).route_changes, 1);
	for (unsigned i = 0; i < 10; i++) {
		device_msix(&scene.device, MSIX_ENABLE | MSIX_MASK_ALL);
		CHECK_EQ(device_status(&scene.device).irqfds, 0);
		device_msix(&scene.device, MSIX_ENABLE);
		device_mask(&scene.device, 1, true);
		CHECK_EQ(device_status(&scene.device).irqfds, VECTORS - 1);
		device_mask(&scene.device, 1, false);
	}
	CHECK_EQ(device_status(&scene.device).route_changes, 1);
	device_entry(&scene.device, 1, FIRST + 0x10, false);
	CHECK_EQ(device_status(&scene.device).route_changes, 2);
	ring(&scene, 1);
	CHECK(machine_wait_interrupt(&scene.device.machine, FIRST + 0x10));
	check_ring(&scene, 2, true);
	scene_close(&scene);
}

TEST(routes_change_together_whichever_are_masked)
{
	struct scene scene;

	scene_prepare(&scene);
	scene_begin(&scene);
	device_mask(&scene.device, 0, true);
	device_mask(&scene.device, 2, true);
	device_msix(&scene.device, MSIX_ENABLE);
	CHECK_EQ(device_status(&scene.device).irqfds, VECTORS - 2);
	CHECK_EQ(device_status(&scene.device).route_changes, 1);
	check_ring(&scene, 3, true);
	scene_close(&scene);
}

/* What KVM routed before it still routes. */
TEST(the_pins_of_the_vm_stay)
{
	static const unsigned pins[] = {1, 7, 9, 15, 23};
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	CHECK_EQ(device_status(&scene.device).route_changes, 1);
	for (unsigned i = 0; i < sizeof(pins) / sizeof(pins[0]); i++) {
		struct kvm_irq_level line = {.irq = pins[i], .level = 1};

		machine_wire_pin(machine, pins[i], (uint8_t)(0x80 + i));
		CHECK_SYS(ioctl(machine->fd, KVM_IRQ_LINE, &line));
		CHECK(machine_wait_interrupt(machine, (uint8_t)(0x80 + i)));
	}
	scene_close(&scene);
}

TEST(a_masked_vector)
{
	struct scene scene;

	scene_open(&scene);
	for (unsigned i = 0; i < 20; i++) {
		device_mask(&scene.device, 2, true);
		CHECK_EQ(device_status(&scene.device).irqfds, VECTORS - 1);
		check_kept(&scene, 2);
		check_ring(&scene, 1, true);
		device_mask(&scene.device, 2, false);
		check_delivered(&scene, 2);
		check_ring(&scene, 2, true);
	}
	scene_close(&scene);
}

TEST(a_masked_function)
{
	struct scene scene;

	scene_open(&scene);
	device_msix(&scene.device, MSIX_ENABLE | MSIX_MASK_ALL);
	check_kept(&scene, 0);
	check_kept(&scene, 3);
	device_msix(&scene.device, MSIX_ENABLE);
	check_delivered(&scene, 0);
	check_delivered(&scene, 3);
	CHECK(!interrupted(&scene, 1));
	check_ring(&scene, 1, true);
	scene_close(&scene);
}

TEST(before_it_is_enabled_and_without_bus_mastering)
{
	struct scene scene;

	scene_open(&scene);
	device_msix(&scene.device, 0);
	check_kept(&scene, 1);
	device_msix(&scene.device, MSIX_ENABLE);
	check_delivered(&scene, 1);
	device_command(&scene.device, COMMAND_DECODE);
	check_kept(&scene, 1);
	device_command(&scene.device, COMMAND_DECODE | COMMAND_MASTER);
	check_delivered(&scene, 1);
	scene_close(&scene);
}

/* Nobody has looked at the ring yet when the vector opens. */
TEST(a_ring_that_nobody_has_seen)
{
	struct scene scene;

	scene_open(&scene);
	for (unsigned i = 0; i < 20; i++) {
		device_mask(&scene.device, 2, true);
		ring(&scene, 2);
		device_mask(&scene.device, 2, false);
		check_delivered(&scene, 2);
		/* And does not come back. */
		device_mask(&scene.device, 2, true);
		CHECK(!device_pending(&scene.device, 2));
		device_mask(&scene.device, 2, false);
		CHECK(!interrupted(&scene, 2));
	}
	scene_close(&scene);
}

/* A reset forgets what was not delivered. */
TEST(a_reset_forgets)
{
	struct scene scene;

	scene_open(&scene);
	device_mask(&scene.device, 2, true);
	ring(&scene, 2);
	ivshmem_kvm_reset(scene.device.kvm);
	device_place(&scene.device);
	device_entry(&scene.device, 2, FIRST + 2, false);
	device_msix(&scene.device, MSIX_ENABLE);
	CHECK(!interrupted(&scene, 2));
	check_ring(&scene, 2, true);
	scene_close(&scene);
}

/* A message for a processor that is not there is kept until the guest corrects it. */
TEST(a_message_for_nobody_is_kept)
{
	struct scene scene;

	scene_open(&scene);
	device_mask(&scene.device, 2, true);
	ivshmem_kvm_write(
		scene.device.kvm, IVSHMEM_BAR_MSIX, 2 * 16, 4, MACHINE_MSI_ADDRESS + 0x5000);
	ring(&scene, 2);
	device_mask(&scene.device, 2, false);
	CHECK(device_pending(&scene.device, 2));
	device_mask(&scene.device, 2, true);
	CHECK(!interrupted(&scene, 2));
	ivshmem_kvm_write(scene.device.kvm, IVSHMEM_BAR_MSIX, 2 * 16, 4, MACHINE_MSI_ADDRESS);
	device_mask(&scene.device, 2, false);
	check_delivered(&scene, 2);
	CHECK_EQ(scene.device.journal.warnings, 0);
	scene_close(&scene);
}

/* ---- what the kernel refuses ------------------------------------------------------------------ */

static void
check_long_way(struct scene *scene)
{
	CHECK_EQ(device_status(&scene->device).irqfds, 0);
	check_ring(scene, 0, false);
	check_ring(scene, 1, false);
	device_mask(&scene->device, 1, true);
	check_kept(scene, 1);
	device_mask(&scene->device, 1, false);
	check_delivered(scene, 1);
	check_ring(scene, 1, false);
	CHECK_EQ(scene->device.journal.warnings, 1);
	CHECK(strstr(scene->device.journal.warning, "does not attach an irqfd"));
}

TEST(no_irqfds)
{
	struct scene scene;

	scene_prepare(&scene);
	refuse_ioctl(KVM_IRQFD, ENOSPC);
	scene_begin(&scene);
	device_msix(&scene.device, MSIX_ENABLE);
	check_long_way(&scene);
	scene_close(&scene);
}

TEST(no_routes)
{
	struct scene scene;

	scene_prepare(&scene);
	refuse_ioctl(KVM_SET_GSI_ROUTING, ENOMEM);
	scene_begin(&scene);
	device_msix(&scene.device, MSIX_ENABLE);
	check_long_way(&scene);
	CHECK_EQ(device_status(&scene.device).route_changes, 0);
	scene_close(&scene);
}

TEST(no_messages)
{
	struct scene scene;

	scene_open(&scene);
	refuse_ioctl(KVM_SIGNAL_MSI, EINVAL);
	check_ring(&scene, 0, true);
	for (unsigned i = 0; i < 3; i++) {
		device_mask(&scene.device, 1, true);
		check_kept(&scene, 1);
		device_mask(&scene.device, 1, false);
		CHECK(device_pending(&scene.device, 1));
	}
	CHECK_EQ(scene.device.journal.warnings, 1);
	CHECK(strstr(scene.device.journal.warning, "does not send MSI-X messages"));
	scene_close(&scene);
}

/* GSIs that KVM cannot have: the table is refused as a whole, and the VM's pins stay as they were. */
TEST(gsis_out_of_range)
{
	struct scene scene;

	scene_prepare(&scene);
	scene.device.kvm_config.first_gsi = 100000;
	scene_begin(&scene);
	device_msix(&scene.device, MSIX_ENABLE);
	check_long_way(&scene);
	scene_close(&scene);
}

/* From here on, the upper halves of messages' addresses count. */
static void
use_upper_halves(struct scene *scene)
{
	struct kvm_enable_cap x2apic = {
		.cap = KVM_CAP_X2APIC_API, .args = {KVM_X2APIC_API_USE_32BIT_IDS}};

	if (ioctl(scene->device.machine.fd, KVM_ENABLE_CAP, &x2apic) < 0)
		SKIP("no KVM_CAP_X2APIC_API: %s", strerror(errno));
}

/* A message for processor 256, of which there is none, by every way that it can take. */
TEST(upper_halves_of_addresses)
{
	struct scene scene;

	scene_prepare(&scene);
	use_upper_halves(&scene);
	scene_begin(&scene);
	for (unsigned i = 0; i < 2; i++) {
		device_mask(&scene.device, i, true);
		ivshmem_kvm_write(scene.device.kvm, IVSHMEM_BAR_MSIX, i * 16 + 4, 4, 0x100);
	}
	device_mask(&scene.device, 0, false);
	device_msix(&scene.device, MSIX_ENABLE);
	CHECK_EQ(device_status(&scene.device).irqfds, VECTORS - 1);
	ring(&scene, 0);
	check_ring(&scene, 2, true);
	CHECK(!interrupted(&scene, 0));
	ring(&scene, 1);
	device_mask(&scene.device, 1, false);
	CHECK(device_pending(&scene.device, 1));
	CHECK_EQ(device_status(&scene.device).messages, 0);
	CHECK(!interrupted(&scene, 1));
	scene_close(&scene);
}

/* A route that KVM does not take costs only its own vector the irqfd. */
TEST(one_bad_route)
{
	struct scene scene;

	scene_prepare(&scene);
	use_upper_halves(&scene);
	scene_begin(&scene);
	/* Bits 0 to 7 must not be set. */
	device_mask(&scene.device, 1, true);
	ivshmem_kvm_write(scene.device.kvm, IVSHMEM_BAR_MSIX, 16 + 4, 4, 0x55);
	device_mask(&scene.device, 1, false);
	device_msix(&scene.device, MSIX_ENABLE);
	CHECK_EQ(device_status(&scene.device).irqfds, VECTORS - 1);
	CHECK_EQ(scene.device.journal.warnings, 1);
	check_ring(&scene, 0, true);
	check_ring(&scene, 3, true);
	device_entry(&scene.device, 1, FIRST + 1, false);
	CHECK_EQ(device_status(&scene.device).irqfds, VECTORS);
	check_ring(&scene, 1, true);
	CHECK_EQ(scene.device.journal.warnings, 1);
	scene_close(&scene);
}

/* ---- the VMM has the routes ------------------------------------------------------------------- */

struct table {
	int vm_fd;
	struct ivshmem_kvm_route routes[VECTORS];
	unsigned calls;
	size_t last_n;
	bool refuse;
};

static struct table table;

static int
set_routes(const struct ivshmem_kvm_route *routes, size_t n, void *data)
{
	struct kvm_irq_routing *all = calloc(1, sizeof(*all) + VECTORS * sizeof(all->entries[0]));

	(void)data;
	table.calls++;
	table.last_n = n;
	if (table.refuse) {
		free(all);
		return -ENOSPC;
	}
	CHECK(all);
	for (size_t i = 0; i < n; i++) {
		CHECK(routes[i].gsi >= 40 && routes[i].gsi < 40 + VECTORS);
		if (!routes[i].used)
			CHECK(routes[i].address == 0 && routes[i].data == 0);
		table.routes[routes[i].gsi - 40] = routes[i];
	}
	for (unsigned i = 0; i < VECTORS; i++)
		if (table.routes[i].used)
			all->entries[all->nr++] =
				(struct kvm_irq_routing_entry){.gsi = table.routes[i].gsi,
					.type = KVM_IRQ_ROUTING_MSI,
					.u.msi = {.address_lo = (uint32_t)table.routes[i].address,
						.data = table.routes[i].data}};
	CHECK_SYS(ioctl(table.vm_fd, KVM_SET_GSI_ROUTING, all));
	free(all);
	return 0;
}

static void
use_table(struct scene *scene)
{
	table = (struct table){.vm_fd = scene->device.machine.fd};
	scene->device.kvm_config.set_routes = set_routes;
	scene->device.kvm_config.first_gsi = 40;
}

TEST(the_vmm_keeps_the_routes)
{
	struct scene scene;

	scene_prepare(&scene);
	use_table(&scene);
	scene_begin(&scene);
	CHECK_EQ(table.calls, 0);
	device_msix(&scene.device, MSIX_ENABLE);
	/* All in one. */
	CHECK_EQ(table.calls, 1);
	CHECK_EQ(table.last_n, VECTORS);
	CHECK_EQ(table.routes[2].data, FIRST + 2);
	CHECK_EQ(table.routes[2].address, MACHINE_MSI_ADDRESS);
	for (unsigned i = 0; i < VECTORS; i++)
		check_ring(&scene, i, true);
	device_entry(&scene.device, 1, FIRST + 0x10, false);
	CHECK_EQ(table.calls, 2);
	CHECK_EQ(table.last_n, 1);
	scene.device.kvm = ivshmem_kvm_free(scene.device.kvm);
	CHECK_EQ(table.calls, 3);
	CHECK_EQ(table.last_n, VECTORS);
	CHECK(!table.routes[2].used);
	scene_close(&scene);
}

TEST(the_vmm_refuses_routes)
{
	struct scene scene;

	scene_prepare(&scene);
	use_table(&scene);
	table.refuse = true;
	scene_begin(&scene);
	device_msix(&scene.device, MSIX_ENABLE);
	check_long_way(&scene);
	/* Opened again, it is asked again. */
	table.refuse = false;
	device_msix(&scene.device, 0);
	device_msix(&scene.device, MSIX_ENABLE);
	CHECK_EQ(device_status(&scene.device).irqfds, VECTORS);
	check_ring(&scene, 1, true);
	CHECK_EQ(scene.device.journal.warnings, 1);
	scene_close(&scene);
}

/* ---- the VMM has the I/O APIC ----------------------------------------------------------------- */

static void
use_split(struct scene *scene)
{
	machine_close(&scene->device.machine);
	machine_open_split(&scene->device.machine);
	scene->device.kvm_config.vm_fd = scene->device.machine.fd;
}

TEST(a_split_irqchip_with_routes_of_the_vmm)
{
	struct scene scene;

	scene_prepare(&scene);
	use_split(&scene);
	use_table(&scene);
	scene_begin(&scene);
	device_msix(&scene.device, MSIX_ENABLE);
	CHECK_EQ(device_status(&scene.device).irqfds, VECTORS);
	for (unsigned i = 0; i < VECTORS; i++)
		check_ring(&scene, i, true);
	CHECK_EQ(scene.device.journal.warnings, 0);
	scene_close(&scene);
}

/* A table of our own would take the VMM's routes away, and KVM does not take it. */
TEST(a_split_irqchip_without)
{
	struct scene scene;

	scene_prepare(&scene);
	use_split(&scene);
	scene_begin(&scene);
	device_msix(&scene.device, MSIX_ENABLE);
	check_long_way(&scene);
	scene_close(&scene);
}
