/* SPDX-License-Identifier: BSD-2-Clause */

/* The interrupt pin of revision 0: level triggered, through an I/O APIC. */

#include "kvm_group.h"

#include <ivshmem/abi.h>
#include <test.h>

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#define PIN       11
#define INTERRUPT 0x61

#define INTX_DISABLE 0x400

struct scene {
	struct group group;
	struct device device; /* id 0 */
	struct ivshmem_client *client;
};

static void
scene_prepare(struct scene *scene)
{
	group_open(&scene->group, 2);
	device_prepare(&scene->device, &scene->group, 0, 2);
	scene->device.config.msi = false;
	scene->device.kvm_config.intx_gsi = PIN;
	machine_wire_pin(&scene->device.machine, PIN, INTERRUPT);
}

static void
scene_begin(struct scene *scene)
{
	device_attach(&scene->device);
	scene->client = group_join(&scene->group);
	while (ivshmem_peer_vectors(scene->client, 0) != 2)
		CHECK(ivshmem_dispatch(scene->client, 1000) >= 0);
	device_place(&scene->device);
	machine_store(&scene->device.machine, AT_BAR0 + IVSHMEM_REG_INTR_MASK, 1);
}

static void
scene_open(struct scene *scene)
{
	scene_prepare(scene);
	scene_begin(scene);
}

static void
scene_close(struct scene *scene)
{
	device_close(&scene->device);
	scene->client = ivshmem_detach(scene->client);
	group_close(&scene->group);
}

/* Bit 3 of the status register in config space: the device requests. */
static bool
requests(struct scene *scene)
{
	return device_config_get(&scene->device, 6, 2) & 8;
}

static void
ring(struct scene *scene)
{
	CHECK_EQ(ivshmem_ring(scene->client, 0, 1), 0);
	DEVICE_UNTIL(&scene->device, requests(scene));
}

static uint32_t
read_status(struct scene *scene)
{
	return machine_load(&scene->device.machine, AT_BAR0 + IVSHMEM_REG_INTR_STATUS);
}

/* What a guest's handler does around what it does with the device. */
static void
begin(struct scene *scene)
{
	CHECK(machine_wait_interrupt(&scene->device.machine, INTERRUPT));
	machine_begin_interrupt(&scene->device.machine, INTERRUPT);
}

static void
end(struct scene *scene)
{
	machine_end_interrupt(&scene->device.machine);
	device_wait(&scene->device);
}

static void
check_quiet(struct scene *scene)
{
	device_wait(&scene->device);
	CHECK(!machine_interrupted(&scene->device.machine, INTERRUPT));
}

static void
check_interrupts(struct scene *scene)
{
	for (unsigned i = 0; i < 20; i++) {
		ring(scene);
		begin(scene);
		CHECK_EQ(read_status(scene), 1);
		end(scene);
		check_quiet(scene);
	}
}

/* The guest is interrupted again and again until it reads IntrStatus. */
static void
check_level(struct scene *scene)
{
	ring(scene);
	for (unsigned i = 0; i < 20; i++) {
		begin(scene);
		check_quiet(scene);
		end(scene);
	}
	begin(scene);
	CHECK_EQ(read_status(scene), 1);
	end(scene);
	check_quiet(scene);
}

TEST(a_ring_interrupts_once)
{
	struct scene scene;

	scene_open(&scene);
	check_interrupts(&scene);
	CHECK_EQ(scene.device.journal.warnings, 0);
	scene_close(&scene);
}

TEST(the_level_stays_until_it_is_read)
{
	struct scene scene;

	scene_open(&scene);
	check_level(&scene);
	check_interrupts(&scene);
	scene_close(&scene);
}

/* A ring during the handler, after it has read IntrStatus, is another interrupt. */
TEST(a_ring_during_the_handler)
{
	struct scene scene;

	scene_open(&scene);
	ring(&scene);
	begin(&scene);
	CHECK_EQ(read_status(&scene), 1);
	ring(&scene);
	end(&scene);
	begin(&scene);
	CHECK_EQ(read_status(&scene), 1);
	end(&scene);
	check_quiet(&scene);
	scene_close(&scene);
}

TEST(masked_by_register_and_by_command)
{
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	machine_store(machine, AT_BAR0 + IVSHMEM_REG_INTR_MASK, 0);
	CHECK_EQ(ivshmem_ring(scene.client, 0, 0), 0);
	check_quiet(&scene);
	device_command(&scene.device, COMMAND_DECODE | INTX_DISABLE);
	machine_store(machine, AT_BAR0 + IVSHMEM_REG_INTR_MASK, 1);
	DEVICE_UNTIL(&scene.device, requests(&scene));
	check_quiet(&scene);
	device_command(&scene.device, COMMAND_DECODE);
	begin(&scene);
	CHECK_EQ(read_status(&scene), 1);
	end(&scene);
	check_quiet(&scene);
	scene_close(&scene);
}

/* The guest is reset, and never ends the interrupt that it had: the line falls all the same. */
TEST(reset_lowers_the_line)
{
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	ring(&scene);
	CHECK(machine_wait_interrupt(machine, INTERRUPT));
	/* While it is up, it shows up wherever it is wired to. */
	machine_wire_pin(machine, PIN, INTERRUPT + 1);
	CHECK(machine_wait_interrupt(machine, INTERRUPT + 1));
	ivshmem_kvm_reset(scene.device.kvm);
	machine_wire_pin(machine, PIN, INTERRUPT);
	check_quiet(&scene);

	device_place(&scene.device);
	machine_store(machine, AT_BAR0 + IVSHMEM_REG_INTR_MASK, 1);
	check_interrupts(&scene);
	CHECK_EQ(scene.device.journal.warnings, 0);
	scene_close(&scene);
}

TEST(free_lowers_the_line)
{
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_open(&scene);
	ring(&scene);
	CHECK(machine_wait_interrupt(machine, INTERRUPT));
	scene.device.kvm = ivshmem_kvm_free(scene.device.kvm);
	machine_wire_pin(machine, PIN, INTERRUPT + 1);
	CHECK(!machine_interrupted(machine, INTERRUPT + 1));
	scene_close(&scene);
}

TEST(a_kernel_without_resampling)
{
	struct scene scene;
	struct machine *machine = &scene.device.machine;

	scene_prepare(&scene);
	refuse_ioctl(KVM_IRQFD, EINVAL);
	scene_begin(&scene);
	CHECK_EQ(scene.device.journal.warnings, 1);
	CHECK(strstr(scene.device.journal.warning, "does not attach a resampling irqfd to GSI 11"));
	check_interrupts(&scene);
	check_level(&scene);
	ring(&scene);
	CHECK(machine_wait_interrupt(machine, INTERRUPT));
	ivshmem_kvm_reset(scene.device.kvm);
	machine_wire_pin(machine, PIN, INTERRUPT + 1);
	CHECK(!machine_interrupted(machine, INTERRUPT + 1));
	CHECK_EQ(scene.device.journal.warnings, 1);
	scene_close(&scene);
}

TEST(a_kernel_that_refuses_everything)
{
	struct scene scene;

	scene_prepare(&scene);
	refuse_ioctl(KVM_IRQFD, EINVAL);
	refuse_ioctl(KVM_IRQ_LINE, ENXIO);
	scene_begin(&scene);
	for (unsigned i = 0; i < 5; i++) {
		ring(&scene);
		CHECK_EQ(read_status(&scene), 1);
	}
	CHECK_EQ(scene.device.journal.warnings, 2);
	CHECK(strstr(scene.device.journal.warning, "the guest gets no INTx"));
	scene_close(&scene);
}

/* Registers work as ever, and there are no interrupts. */
TEST(no_pin_is_wired)
{
	struct scene scene;

	scene_prepare(&scene);
	scene.device.kvm_config.intx_gsi = IVSHMEM_KVM_NO_GSI;
	scene_begin(&scene);
	ring(&scene);
	check_quiet(&scene);
	CHECK_EQ(read_status(&scene), 1);
	ivshmem_kvm_reset(scene.device.kvm);
	CHECK_EQ(scene.device.journal.warnings, 0);
	scene_close(&scene);
}
