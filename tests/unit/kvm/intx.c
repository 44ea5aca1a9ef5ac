/* SPDX-License-Identifier: BSD-2-Clause */

/* The interrupt pin of revision 0: level triggered, through an I/O APIC. */

#include "kvm_group.h"

#include <errno.h>
#include <linux/kvm.h>

#define PIN       11
#define INTERRUPT 0x61

#define INTX_DISABLE 0x400

static void
prepare(void)
{
	scene_prepare(0, 2);
	device.config.msi = false;
	device.kvm_config.intx_gsi = PIN;
	machine_wire_pin(&device.machine, PIN, INTERRUPT);
}

static void
begin_scene(void)
{
	scene_begin();
	guest_store(AT_BAR0 + IVSHMEM_REG_INTR_MASK, 1);
}

static void
open_intx(void)
{
	prepare();
	begin_scene();
}

/* A line that is up shows up wherever it is wired to. */
static bool
is_up(void)
{
	machine_wire_pin(&device.machine, PIN, INTERRUPT + 1);
	return interrupted(INTERRUPT + 1);
}

/* Bit 3 of the status register in config space: the device requests. */
static bool
requests(void)
{
	return config_get(6, 2) & 8;
}

static void
ring(void)
{
	client_rings(1);
	DEVICE_UNTIL(requests());
}

static uint32_t
read_status(void)
{
	return guest_load(AT_BAR0 + IVSHMEM_REG_INTR_STATUS);
}

/* What a guest's handler does around what it does with the device. */
static void
begin(void)
{
	CHECK(wait_interrupt(INTERRUPT));
	machine_begin_interrupt(&device.machine, INTERRUPT);
}

static void
end(void)
{
	machine_end_interrupt(&device.machine);
	device_wait();
}

static void
check_quiet(void)
{
	device_wait();
	CHECK(!interrupted(INTERRUPT));
}

/* The handler of the last interrupt that there is. */
static void
handle(void)
{
	begin();
	CHECK_EQ(read_status(), 1);
	end();
	check_quiet();
}

static void
check_interrupts(void)
{
	for (unsigned i = 0; i < 20; i++) {
		ring();
		handle();
	}
}

/* The guest is interrupted again and again until it reads IntrStatus. */
static void
check_level(void)
{
	ring();
	for (unsigned i = 0; i < 20; i++) {
		begin();
		check_quiet();
		end();
	}
	handle();
}

TEST(a_ring_interrupts_once)
{
	open_intx();
	check_interrupts();
	CHECK_EQ(device.warnings, 0);
}

TEST(the_level_stays_until_it_is_read)
{
	open_intx();
	check_level();
	check_interrupts();
}

/* A ring during the handler, after it has read IntrStatus, is another interrupt. */
TEST(a_ring_during_the_handler)
{
	open_intx();
	ring();
	begin();
	CHECK_EQ(read_status(), 1);
	ring();
	end();
	handle();
}

TEST(masked_by_register_and_by_command)
{
	open_intx();
	guest_store(AT_BAR0 + IVSHMEM_REG_INTR_MASK, 0);
	client_rings(0);
	check_quiet();
	command(COMMAND_DECODE | INTX_DISABLE);
	guest_store(AT_BAR0 + IVSHMEM_REG_INTR_MASK, 1);
	DEVICE_UNTIL(requests());
	check_quiet();
	command(COMMAND_DECODE);
	handle();
}

/* The guest is reset, and never ends the interrupt that it had: the line falls all the same. */
TEST(reset_lowers_the_line)
{
	open_intx();
	ring();
	CHECK(wait_interrupt(INTERRUPT));
	CHECK(is_up());
	ivshmem_kvm_reset(device.kvm);
	machine_wire_pin(&device.machine, PIN, INTERRUPT);
	check_quiet();

	device_place();
	guest_store(AT_BAR0 + IVSHMEM_REG_INTR_MASK, 1);
	check_interrupts();
	CHECK_EQ(device.warnings, 0);
}

TEST(free_lowers_the_line)
{
	open_intx();
	ring();
	CHECK(wait_interrupt(INTERRUPT));
	device.kvm = ivshmem_kvm_free(device.kvm);
	CHECK(!is_up());
}

TEST(a_kernel_without_resampling)
{
	prepare();
	refuse_ioctl(KVM_IRQFD, EINVAL);
	begin_scene();
	check_warnings(1, "does not attach a resampling irqfd to GSI 11");
	check_interrupts();
	check_level();
	ring();
	CHECK(wait_interrupt(INTERRUPT));
	ivshmem_kvm_reset(device.kvm);
	CHECK(!is_up());
	CHECK_EQ(device.warnings, 1);
}

TEST(a_kernel_that_refuses_everything)
{
	prepare();
	refuse_ioctl(KVM_IRQFD, EINVAL);
	refuse_ioctl(KVM_IRQ_LINE, ENXIO);
	begin_scene();
	for (unsigned i = 0; i < 5; i++) {
		ring();
		CHECK_EQ(read_status(), 1);
	}
	check_warnings(2, "the guest gets no INTx");
}

/* Registers work as ever, and there are no interrupts. */
TEST(no_pin_is_wired)
{
	prepare();
	device.kvm_config.intx_gsi = IVSHMEM_KVM_NO_GSI;
	begin_scene();
	ring();
	check_quiet();
	CHECK_EQ(read_status(), 1);
	ivshmem_kvm_reset(device.kvm);
	CHECK_EQ(device.warnings, 0);
}
