/* SPDX-License-Identifier: BSD-2-Clause */

/* A device comes to a VM, or is refused; and goes. */

#include "kvm_group.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void
refused(int code, const char *reason)
{
	struct ivshmem_error error = {0};
	struct ivshmem_kvm *kvm = NULL;

	CHECK_EQ(ivshmem_kvm_new(&kvm, &device.kvm_config, &error), code);
	CHECK_EQ(error.code, code);
	CHECK(kvm == NULL);
	CHECK_HAS(error.message, reason);
	CHECK_EQ(ivshmem_kvm_new(&kvm, &device.kvm_config, NULL), code);
}

static void
enable_msix(void)
{
	entry_write(0, 0x41, false);
	msix(MSIX_ENABLE);
}

/* What is in force in the VM. */
static void
check_effects(unsigned ioeventfds, unsigned irqfds, bool memory_mapped)
{
	struct ivshmem_kvm_status now = status();

	CHECK_EQ(now.ioeventfds, ioeventfds);
	CHECK_EQ(now.irqfds, irqfds);
	CHECK_EQ(now.memory_mapped, memory_mapped);
}

TEST(what_is_no_vm_is_refused)
{
	_test_close_ int null = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));

	device_prepare(1, 1);
	device.kvm_config.file = "/dev/null";
	for (unsigned i = 0; i < 4; i++) {
		device.kvm_config.vm_fd =
			((int[]){-1, device.machine.kvm_fd, device.machine.cpu_fd, null})[i];
		refused(-EINVAL, "no virtual machine");
	}
}

/* Refused while `place` holds `value`. */
#define REFUSED_WITH(place, value, reason)                                                         \
	do {                                                                                       \
		__auto_type good_ = (place);                                                       \
		(place) = (value);                                                                 \
		refused(-EINVAL, reason);                                                          \
		(place) = good_;                                                                   \
	} while (0)

TEST(configurations_that_cannot_be)
{
	scene_prepare(1, 1);
	REFUSED_WITH(device.kvm_config.server, NULL, "neither a server nor memory");
	REFUSED_WITH(device.kvm_config.struct_size, sizeof(device.kvm_config) - 1, "struct_size");
	REFUSED_WITH(device.config.struct_size, sizeof(device.config) - 1, "struct_size");
	REFUSED_WITH(device.config.host_msix, true, "host_msix");
	REFUSED_WITH(device.config.vectors, 0, "vectors must be");
	REFUSED_WITH(device.config.revision, 7, "revision must be");
	REFUSED_WITH(device.config.memory_size, GROUP_MEMORY / 2,
		"the memory has 1 MiB, but memory_size says 512 KiB");
	device.config.memory_size = 0;
	device.kvm_config.server = "/nonexistent/socket";
	refused(-ENOENT, "/nonexistent/socket");

	/* Of all that, nothing is left. */
	device.kvm_config.server = group.address.sun_path;
	device_attach();
}

/* Larger than what this library knows: a program that was compiled with newer headers. */
TEST(a_newer_program)
{
	struct {
		struct ivshmem_kvm_config known;
		uint64_t unknown;
	} config = {.unknown = 7};
	struct {
		struct ivshmem_kvm_status known;
		uint64_t unknown;
	} asked = {.known = {.struct_size = sizeof(asked)}, .unknown = 7};
	struct ivshmem_error error;

	scene_prepare(1, 1);
	ivshmem_kvm_config_init(&config.known, sizeof(config));
	CHECK_EQ(config.known.struct_size, sizeof(config));
	CHECK_EQ(config.unknown, 0);
	config.known = device.kvm_config;
	config.known.struct_size = sizeof(config);
	config.unknown = 1;
	CHECK_EQ(ivshmem_kvm_new(&device.kvm, &config.known, &error), -E2BIG);
	CHECK_HAS(error.message, "struct ivshmem_kvm_config");
	config.unknown = 0;
	CHECK_EQ(ivshmem_kvm_new(&device.kvm, &config.known, &error), 0);

	CHECK_EQ(ivshmem_kvm_get_status(device.kvm, &asked.known), 0);
	CHECK_EQ(asked.known.struct_size, sizeof(asked));
	CHECK(asked.known.connected);
	CHECK_EQ(asked.unknown, 0);
	asked.known.struct_size = 0;
	CHECK_EQ(ivshmem_kvm_get_status(device.kvm, &asked.known), -EINVAL);
	asked.known.struct_size = SIZE_MAX;
	CHECK_EQ(ivshmem_kvm_get_status(device.kvm, &asked.known), -E2BIG);
}

TEST(defaults)
{
	struct ivshmem_kvm_config config;

	memset(&config, 0x55, sizeof(config));
	ivshmem_kvm_config_init(&config, sizeof(config));
	CHECK_EQ(config.struct_size, sizeof(config));
	CHECK_EQ(config.first_gsi, 24);
	CHECK_EQ(config.intx_gsi, IVSHMEM_KVM_NO_GSI);
	CHECK(config.device == NULL && config.server == NULL && config.set_routes == NULL);
	CHECK(ivshmem_kvm_free(NULL) == NULL);
}

/* Without a configuration of the device: revision 1, with what the server says. */
TEST(id_and_memory_come_from_the_server)
{
	group_open(&group, 1);
	client = group_join(&group);
	device_prepare(1, 1);
	device.kvm_config.device = NULL;
	device_attach();
	CHECK_EQ(ivshmem_kvm_id(device.kvm), 1);
	CHECK_EQ(ivshmem_kvm_memory_size(device.kvm), GROUP_MEMORY);
	CHECK_EQ(ivshmem_kvm_bar_size(device.kvm, 2), GROUP_MEMORY);
	CHECK_EQ(config_get(0, 4), 0x11101af4);
	CHECK_EQ(config_get(8, 1), 1);
	CHECK(status().connected);
	CHECK(!ivshmem_kvm_is_master(device.kvm));
	CHECK_EQ(ivshmem_write(client, 100, "hello", 5), 0);
	CHECK_MEM((char *)ivshmem_kvm_memory(device.kvm) + 100, "hello", 5);
}

TEST(the_server_dies_and_the_vm_goes_on)
{
	scene_open(1, 1);
	enable_msix();
	group_kill(&group);
	DEVICE_UNTIL(!status().connected);
	check_warnings(1, "the VM goes on");

	client_rings(0);
	CHECK(wait_interrupt(0x41));
	guest_store(AT_BAR0 + 12, ivshmem_doorbell_value(1, 0));
	client_hears(0);
	CHECK_EQ(device.machine.exits, 0);
}

/* No server: memory only. */
TEST(a_plain_device)
{
	char path[128];
	struct stat before;

	snprintf(path, sizeof(path), "%s/memory", test_directory());
	device_prepare(1, 1);
	device.kvm_config.file = path;
	device.config.memory_size = 65536;
	device_attach();
	CHECK_SYS(stat(path, &before));
	CHECK_EQ(before.st_size, 65536);
	CHECK_EQ(ivshmem_kvm_bar_size(device.kvm, 1), 0);
	CHECK_EQ(config_get(0x34, 1), 0);
	CHECK(!status().connected);
	device_place();
	CHECK(status().memory_mapped);
	guest_store(AT_BAR2 + 4, 4711);
	CHECK_EQ(((uint32_t *)ivshmem_kvm_memory(device.kvm))[1], 4711);
	CHECK_EQ(device.machine.exits, 0);
	/* There is nobody to be rung. */
	guest_store(AT_BAR0 + 12, 0);
	CHECK_EQ(device.machine.exits, 1);
}

/* Revision 0: the guest may run before the memory is there. */
TEST(revision_0_by_name)
{
	scene_prepare(0, 2);
	device_attach();
	device_place();
	CHECK_EQ(config_get(8, 1), 0);
	CHECK_EQ(config_get(0x3d, 1), 1);
	DEVICE_UNTIL(ivshmem_kvm_memory(device.kvm) != NULL);
	CHECK(status().memory_mapped);
	CHECK_EQ(guest_load(AT_BAR0 + 8), 0);
	CHECK(ivshmem_kvm_is_master(device.kvm));
	/* ioeventfd is off by default. */
	CHECK_EQ(status().ioeventfds, 0);
}

/* Everything that is in force when the device goes is undone. */
TEST(free_leaves_nothing_in_the_vm)
{
	scene_open(1, 2);
	enable_msix();
	check_effects(4, 1, true);
	device.kvm = ivshmem_kvm_free(device.kvm);
	device.machine.device = NULL;

	CHECK_EQ(guest_load(AT_BAR2), UINT32_MAX);
	guest_store(AT_BAR0 + 12, ivshmem_doorbell_value(0, 0));
	CHECK_EQ(device.machine.exits, 2);
	/* Another one finds everything free. */
	device_attach();
	DEVICE_UNTIL(ivshmem_kvm_peer_vectors(device.kvm, 1) == 2);
	device_place();
	enable_msix();
	check_effects(4, 1, true);
	CHECK_EQ(device.warnings, 0);
}

TEST(reset)
{
	scene_open(1, 1);
	enable_msix();
	ivshmem_kvm_reset(device.kvm);
	check_effects(0, 0, false);
	CHECK_EQ(ivshmem_kvm_bar_address(device.kvm, 0), 0);
	CHECK_EQ(guest_load(AT_BAR2), UINT32_MAX);
	device_place();
	enable_msix();
	CHECK_EQ(status().irqfds, 1);
	/* The route is the one from before. */
	CHECK_EQ(status().route_changes, 1);
	CHECK_EQ(device.warnings, 0);
}
