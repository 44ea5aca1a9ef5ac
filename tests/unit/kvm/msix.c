/* SPDX-License-Identifier: BSD-2-Clause */

/* The guest is rung: through irqfds, or through this process; now, or when it may be. */

#include "kvm_group.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define VECTORS 4

/* MSI-X vector i is interrupt FIRST + i. */
#define FIRST 0x41

static void
prepare(void)
{
	scene_prepare(1, VECTORS);
}

static void
begin(void)
{
	scene_begin();
	for (unsigned i = 0; i < VECTORS; i++)
		entry_write(i, (uint8_t)(FIRST + i), false);
}

static void
begin_enabled(void)
{
	begin();
	msix(MSIX_ENABLE);
}

static void
open_msix(void)
{
	prepare();
	begin_enabled();
}

static bool
vector_came(unsigned vector)
{
	return interrupted((uint8_t)(FIRST + vector));
}

static bool
vector_comes(unsigned vector)
{
	return wait_interrupt((uint8_t)(FIRST + vector));
}

/* A part of an entry, which is masked for that; the rest of it stays. */
static void
entry_change(unsigned vector, unsigned offset, uint32_t value)
{
	entry_mask(vector, true);
	ivshmem_kvm_write(device.kvm, IVSHMEM_BAR_MSIX, vector * 16 + offset, 4, value);
}

/* A ring arrives, is delivered by the kernel if `by_kernel`, and once. */
static void
check_ring(unsigned vector, bool by_kernel)
{
	uint64_t messages = status().messages;

	client_rings(vector);
	if (!by_kernel)
		DEVICE_UNTIL(status().messages > messages);
	CHECK(vector_comes(vector));
	device_wait();
	CHECK(!vector_came(vector));
	CHECK_EQ(status().messages, messages + (by_kernel ? 0 : 1));
	CHECK(!is_pending(vector));
}

/* A ring that must wait is a pending bit, and then one message. */
static void
check_kept(unsigned vector)
{
	for (unsigned i = 0; i < 3; i++)
		client_rings(vector);
	/* The bit is there at once, without any dispatch. */
	CHECK(is_pending(vector));
	CHECK(!vector_came(vector));
}

static void
check_delivered(unsigned vector)
{
	CHECK(vector_comes(vector));
	CHECK(!is_pending(vector));
	device_wait();
	CHECK(!vector_came(vector));
}

TEST(a_ring_needs_nobody)
{
	open_msix();
	CHECK_EQ(status().irqfds, VECTORS);
	for (unsigned i = 0; i < 100; i++)
		check_ring(i % VECTORS, true);
}

/* MSI-X goes on for all vectors at once: one change of the VM's routes. */
TEST(routes_change_only_if_they_differ)
{
	open_msix();
	CHECK_EQ(status().route_changes, 1);
	for (unsigned i = 0; i < 10; i++) {
		msix(MSIX_ENABLE | MSIX_MASK_ALL);
		CHECK_EQ(status().irqfds, 0);
		msix(MSIX_ENABLE);
		entry_mask(1, true);
		CHECK_EQ(status().irqfds, VECTORS - 1);
		entry_mask(1, false);
	}
	CHECK_EQ(status().route_changes, 1);
	entry_write(1, FIRST + 0x10, false);
	CHECK_EQ(status().route_changes, 2);
	client_rings(1);
	CHECK(wait_interrupt(FIRST + 0x10));
	check_ring(2, true);
}

TEST(routes_change_together_whichever_are_masked)
{
	prepare();
	begin();
	entry_mask(0, true);
	entry_mask(2, true);
	msix(MSIX_ENABLE);
	CHECK_EQ(status().irqfds, VECTORS - 2);
	CHECK_EQ(status().route_changes, 1);
	check_ring(3, true);
}

/* What KVM routed before it still routes. */
TEST(the_pins_of_the_vm_stay)
{
	static const unsigned pins[] = {1, 7, 9, 15, 23};

	open_msix();
	CHECK_EQ(status().route_changes, 1);
	for (unsigned i = 0; i < sizeof(pins) / sizeof(pins[0]); i++) {
		struct kvm_irq_level line = {.irq = pins[i], .level = 1};

		machine_wire_pin(&device.machine, pins[i], (uint8_t)(0x80 + i));
		CHECK_SYS(ioctl(device.machine.fd, KVM_IRQ_LINE, &line));
		CHECK(wait_interrupt((uint8_t)(0x80 + i)));
	}
}

TEST(a_masked_vector)
{
	open_msix();
	for (unsigned i = 0; i < 20; i++) {
		entry_mask(2, true);
		CHECK_EQ(status().irqfds, VECTORS - 1);
		check_kept(2);
		check_ring(1, true);
		entry_mask(2, false);
		check_delivered(2);
		check_ring(2, true);
	}
}

TEST(a_masked_function)
{
	open_msix();
	msix(MSIX_ENABLE | MSIX_MASK_ALL);
	check_kept(0);
	check_kept(3);
	msix(MSIX_ENABLE);
	check_delivered(0);
	check_delivered(3);
	CHECK(!vector_came(1));
	check_ring(1, true);
}

TEST(before_it_is_enabled_and_without_bus_mastering)
{
	open_msix();
	msix(0);
	check_kept(1);
	msix(MSIX_ENABLE);
	check_delivered(1);
	command(COMMAND_DECODE);
	check_kept(1);
	command(COMMAND_DECODE | COMMAND_MASTER);
	check_delivered(1);
}

/* Nobody has looked at the ring yet when the vector opens. */
TEST(a_ring_that_nobody_has_seen)
{
	open_msix();
	for (unsigned i = 0; i < 20; i++) {
		entry_mask(2, true);
		client_rings(2);
		entry_mask(2, false);
		check_delivered(2);
		/* And does not come back. */
		entry_mask(2, true);
		CHECK(!is_pending(2));
		entry_mask(2, false);
		CHECK(!vector_came(2));
	}
}

/* A reset forgets what was not delivered. */
TEST(a_reset_forgets)
{
	open_msix();
	entry_mask(2, true);
	client_rings(2);
	ivshmem_kvm_reset(device.kvm);
	device_place();
	entry_write(2, FIRST + 2, false);
	msix(MSIX_ENABLE);
	CHECK(!vector_came(2));
	check_ring(2, true);
}

/* A message for a processor that is not there is kept until the guest corrects it. */
TEST(a_message_for_nobody_is_kept)
{
	open_msix();
	entry_change(2, 0, MACHINE_MSI_ADDRESS + 0x5000);
	client_rings(2);
	entry_mask(2, false);
	CHECK(is_pending(2));
	entry_change(2, 0, MACHINE_MSI_ADDRESS);
	CHECK(!vector_came(2));
	entry_mask(2, false);
	check_delivered(2);
	CHECK_EQ(device.warnings, 0);
}

/* ---- what the kernel refuses ------------------------------------------------------------------ */

static void
check_long_way(void)
{
	CHECK_EQ(status().irqfds, 0);
	check_ring(0, false);
	check_ring(1, false);
	entry_mask(1, true);
	check_kept(1);
	entry_mask(1, false);
	check_delivered(1);
	check_ring(1, false);
	check_warnings(1, "does not attach an irqfd");
}

static void
begin_long_way(void)
{
	begin_enabled();
	check_long_way();
}

TEST(no_irqfds)
{
	prepare();
	refuse_ioctl(KVM_IRQFD, ENOSPC);
	begin_long_way();
}

TEST(no_routes)
{
	prepare();
	refuse_ioctl(KVM_SET_GSI_ROUTING, ENOMEM);
	begin_long_way();
	CHECK_EQ(status().route_changes, 0);
}

TEST(no_messages)
{
	open_msix();
	refuse_ioctl(KVM_SIGNAL_MSI, EINVAL);
	check_ring(0, true);
	for (unsigned i = 0; i < 3; i++) {
		entry_mask(1, true);
		check_kept(1);
		entry_mask(1, false);
		CHECK(is_pending(1));
	}
	check_warnings(1, "does not send MSI-X messages");
}

/* GSIs that KVM cannot have: the table is refused as a whole, and the VM's pins stay as they were. */
TEST(gsis_out_of_range)
{
	prepare();
	device.kvm_config.first_gsi = 100000;
	begin_long_way();
}

/* From here on, the upper halves of messages' addresses count. */
static void
use_upper_halves(void)
{
	struct kvm_enable_cap x2apic = {
		.cap = KVM_CAP_X2APIC_API, .args = {KVM_X2APIC_API_USE_32BIT_IDS}};

	if (ioctl(device.machine.fd, KVM_ENABLE_CAP, &x2apic) < 0)
		SKIP("no KVM_CAP_X2APIC_API: %s", strerror(errno));
}

/* A message for processor 256, of which there is none, by every way that it can take. */
TEST(upper_halves_of_addresses)
{
	prepare();
	use_upper_halves();
	begin();
	for (unsigned i = 0; i < 2; i++)
		entry_change(i, 4, 0x100);
	entry_mask(0, false);
	msix(MSIX_ENABLE);
	CHECK_EQ(status().irqfds, VECTORS - 1);
	client_rings(0);
	check_ring(2, true);
	CHECK(!vector_came(0));
	client_rings(1);
	entry_mask(1, false);
	CHECK(is_pending(1));
	CHECK_EQ(status().messages, 0);
	CHECK(!vector_came(1));
}

/* A route that KVM does not take costs only its own vector the irqfd. */
TEST(one_bad_route)
{
	prepare();
	use_upper_halves();
	begin();
	/* Bits 0 to 7 must not be set. */
	entry_change(1, 4, 0x55);
	entry_mask(1, false);
	msix(MSIX_ENABLE);
	CHECK_EQ(status().irqfds, VECTORS - 1);
	CHECK_EQ(device.warnings, 1);
	check_ring(0, true);
	check_ring(3, true);
	entry_write(1, FIRST + 1, false);
	CHECK_EQ(status().irqfds, VECTORS);
	check_ring(1, true);
	CHECK_EQ(device.warnings, 1);
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
use_table(void)
{
	table = (struct table){.vm_fd = device.machine.fd};
	device.kvm_config.set_routes = set_routes;
	device.kvm_config.first_gsi = 40;
}

TEST(the_vmm_keeps_the_routes)
{
	prepare();
	use_table();
	begin();
	CHECK_EQ(table.calls, 0);
	msix(MSIX_ENABLE);
	/* All in one. */
	CHECK_EQ(table.calls, 1);
	CHECK_EQ(table.last_n, VECTORS);
	CHECK_EQ(table.routes[2].data, FIRST + 2);
	CHECK_EQ(table.routes[2].address, MACHINE_MSI_ADDRESS);
	for (unsigned i = 0; i < VECTORS; i++)
		check_ring(i, true);
	entry_write(1, FIRST + 0x10, false);
	CHECK_EQ(table.calls, 2);
	CHECK_EQ(table.last_n, 1);
	device.kvm = ivshmem_kvm_free(device.kvm);
	CHECK_EQ(table.calls, 3);
	CHECK_EQ(table.last_n, VECTORS);
	CHECK(!table.routes[2].used);
}

TEST(the_vmm_refuses_routes)
{
	prepare();
	use_table();
	table.refuse = true;
	begin_long_way();
	/* Opened again, it is asked again. */
	table.refuse = false;
	msix(0);
	msix(MSIX_ENABLE);
	CHECK_EQ(status().irqfds, VECTORS);
	check_ring(1, true);
	CHECK_EQ(device.warnings, 1);
}

/* ---- the VMM has the I/O APIC ----------------------------------------------------------------- */

static void
use_split(void)
{
	machine_close(&device.machine);
	machine_open_split(&device.machine);
	device.kvm_config.vm_fd = device.machine.fd;
}

TEST(a_split_irqchip_with_routes_of_the_vmm)
{
	prepare();
	use_split();
	use_table();
	begin_enabled();
	CHECK_EQ(status().irqfds, VECTORS);
	for (unsigned i = 0; i < VECTORS; i++)
		check_ring(i, true);
	CHECK_EQ(device.warnings, 0);
}

/* A table of our own would take the VMM's routes away, and KVM does not take it. */
TEST(a_split_irqchip_without)
{
	prepare();
	use_split();
	begin_long_way();
}
