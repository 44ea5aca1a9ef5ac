/* SPDX-License-Identifier: BSD-2-Clause */

/* BAR2 as a memory slot, and accesses that find no slot. */

#include "kvm_group.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static uint32_t
word(unsigned offset)
{
	return ((volatile uint32_t *)ivshmem_kvm_memory(device.kvm))[offset / 4];
}

TEST(the_guest_reaches_the_memory_without_an_exit)
{
	uint32_t end = (uint32_t)GROUP_MEMORY - 4;

	scene_open(1, 1);
	guest_store(AT_BAR2, 1);
	guest_store(AT_BAR2 + end, 2);
	CHECK_EQ(word(0), 1);
	CHECK_EQ(word(end), 2);
	CHECK_EQ(guest_load(AT_BAR2 + end), 2);
	CHECK_EQ(device.machine.exits, 0);
	/* Behind it there is nothing. */
	CHECK_EQ(guest_load(AT_BAR2 + end + 4), UINT32_MAX);
	CHECK_EQ(device.machine.exits, 1);
}

TEST(it_follows_the_bar)
{
	const uint32_t other = AT_BAR2 + 0x1000000;

	scene_open(1, 1);
	guest_store(AT_BAR2, 1);
	config_put(0x18, 4, other);
	CHECK_EQ(ivshmem_kvm_bar_address(device.kvm, 2), other);
	CHECK_EQ(guest_load(other), 1);
	CHECK_EQ(device.machine.exits, 0);
	CHECK_EQ(guest_load(AT_BAR2), UINT32_MAX);
	CHECK_EQ(device.machine.exits, 1);

	command(0);
	CHECK(!status().memory_mapped);
	CHECK_EQ(guest_load(other), UINT32_MAX);
	CHECK_EQ(device.machine.exits, 2);
	command(COMMAND_DECODE);
	CHECK(status().memory_mapped);
	CHECK_EQ(guest_load(other), 1);
	CHECK_EQ(device.machine.exits, 2);

	/* Sizing with decoding on: most guests do that. */
	config_put(0x18, 4, UINT32_MAX);
	config_put(0x1c, 4, UINT32_MAX);
	CHECK(!status().memory_mapped);
	CHECK_EQ(config_get(0x18, 4), (uint32_t)-GROUP_MEMORY | 0xc);
	config_put(0x1c, 4, 0);
	config_put(0x18, 4, AT_BAR2);
	CHECK_EQ(guest_load(AT_BAR2), 1);
	CHECK_EQ(device.warnings, 0);
}

/* Where the VM has RAM already, KVM refuses a second slot. */
TEST(an_occupied_place_is_reached_through_this_process)
{
	struct kvm_userspace_memory_region ram = {
		.slot = 1, .guest_phys_addr = AT_BAR2 + 0x1000, .memory_size = 0x1000};

	scene_prepare(1, 1);
	ram.userspace_addr = (uintptr_t)device.machine.ram;
	CHECK_SYS(ioctl(device.machine.fd, KVM_SET_USER_MEMORY_REGION, &ram));
	scene_begin();
	CHECK(!status().memory_mapped);
	check_warnings(1, "does not map the shared memory");
	guest_store(AT_BAR2 + 8, 4711);
	CHECK_EQ(word(8), 4711);
	CHECK_EQ(guest_load(AT_BAR2 + 8), 4711);
	CHECK_EQ(device.machine.exits, 2);

	/* A BAR that moves gets another chance. */
	config_put(0x18, 4, AT_BAR2 + 0x2000000);
	CHECK(status().memory_mapped);
	CHECK_EQ(guest_load(AT_BAR2 + 0x2000000 + 8), 4711);
	CHECK_EQ(device.machine.exits, 2);
	/* And back, without a second complaint. */
	config_put(0x18, 4, AT_BAR2);
	CHECK(!status().memory_mapped);
	CHECK_EQ(guest_load(AT_BAR2 + 8), 4711);
	CHECK_EQ(device.warnings, 1);
}

TEST(a_kernel_without_room_for_slots)
{
	scene_prepare(1, 1);
	refuse_ioctl(KVM_SET_USER_MEMORY_REGION, ENOMEM);
	scene_begin();
	command(0);
	command(COMMAND_DECODE);
	CHECK_EQ(device.warnings, 1);
	guest_store(AT_BAR2 + 8, 4711);
	CHECK_EQ(guest_load(AT_BAR2 + 8), 4711);
	CHECK_EQ(device.machine.exits, 2);
}

/* The accesses that KVM hands out come in any size, and belong to the BAR they begin in. */
TEST(accesses_by_address)
{
	static const uint64_t foreign[] = {AT_BAR0 + 256, 0, UINT64_MAX, AT_BAR2 + GROUP_MEMORY};
	uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8}, read[8];
	uint8_t *memory;

	scene_open(1, 1);
	memory = ivshmem_kvm_memory(device.kvm);
	for (unsigned length = 1; length <= 8; length++)
		for (unsigned at = 0; at < 9; at++) {
			memset(memory, 0, 32);
			memset(read, 0, sizeof(read));
			CHECK(ivshmem_kvm_mmio(device.kvm, AT_BAR2 + at, bytes, length, true));
			CHECK_MEM(memory + at, bytes, length);
			CHECK_EQ(memory[at + length], 0);
			CHECK(ivshmem_kvm_mmio(device.kvm, AT_BAR2 + at, read, length, false));
			CHECK_MEM(read, bytes, length);
		}
	/* Half of it lies beyond the end. */
	CHECK(ivshmem_kvm_mmio(device.kvm, AT_BAR2 + GROUP_MEMORY - 2, bytes, 4, true));
	CHECK(ivshmem_kvm_mmio(device.kvm, AT_BAR2 + GROUP_MEMORY - 2, read, 4, false));
	CHECK_MEM(read, ((uint8_t[]){1, 2, 0xff, 0xff}), 4);

	/* Registers are little-endian words. */
	memset(bytes, 0, sizeof(bytes));
	CHECK(ivshmem_kvm_mmio(device.kvm, AT_BAR0, (uint8_t[]){0x78, 0x56, 0x34, 0x12}, 4, true));
	CHECK_EQ(ivshmem_kvm_read(device.kvm, 0, 0, 4), 0x12345678);
	CHECK(ivshmem_kvm_mmio(device.kvm, AT_BAR0, bytes, 4, false));
	CHECK_MEM(bytes, ((uint8_t[]){0x78, 0x56, 0x34, 0x12}), 4);
	CHECK(ivshmem_kvm_mmio(device.kvm, AT_BAR0 + 1, bytes, 1, false));
	CHECK_EQ(bytes[0], 0);

	/* What is not ours stays as it is. */
	memset(read, 0x5a, sizeof(read));
	for (unsigned i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		CHECK(!ivshmem_kvm_mmio(device.kvm, foreign[i], read, 4, false));
	CHECK(!ivshmem_kvm_mmio(device.kvm, AT_BAR0 - 1, read, 1, false));
	command(0);
	CHECK(!ivshmem_kvm_mmio(device.kvm, AT_BAR0, read, 4, false));
	CHECK(!ivshmem_kvm_mmio(device.kvm, 0, read, 4, false));
	CHECK_EQ(read[0], 0x5a);
}

static void
on_bus_error(int number)
{
	(void)number;
	ivshmem_kvm_sigbus();
	_exit(3);
}

/* Somebody shrinks it: accesses fail, and the VMM lives. Also with a handler that came later. */
TEST(memory_that_vanishes)
{
	const struct sigaction later = {.sa_handler = on_bus_error};
	char path[100];
	uint8_t bytes[8] = {0};
	_test_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/memory", test_directory());
	fd = CHECK_SYS(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	CHECK_SYS(ftruncate(fd, GROUP_MEMORY));
	device_prepare(1, 1);
	device.kvm_config.file = path;
	device_attach();
	device_place();
	ivshmem_kvm_write(device.kvm, 2, 16, 4, 4711);
	CHECK_SYS(ftruncate(fd, 4096));
	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(ivshmem_kvm_read(device.kvm, 2, GROUP_MEMORY - 8, 8), UINT64_MAX);
		CHECK_EQ(ivshmem_kvm_read(device.kvm, 2, GROUP_MEMORY - 4, 4), UINT32_MAX);
		ivshmem_kvm_write(device.kvm, 2, GROUP_MEMORY - 4, 4, 1);
		CHECK(ivshmem_kvm_mmio(device.kvm, AT_BAR2 + 4094, bytes, 4, false));
		CHECK_MEM(bytes, ((uint8_t[]){0xff, 0xff, 0xff, 0xff}), 4);
		CHECK_EQ(ivshmem_kvm_read(device.kvm, 2, 16, 4), 4711);
		CHECK_SYS(sigaction(SIGBUS, &later, NULL));
	}
	check_warnings(1, "has shrunk the shared memory");
}
