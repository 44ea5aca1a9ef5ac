/* SPDX-License-Identifier: BSD-2-Clause */

/* A device comes to a VM, or is refused; and goes. */

#include "kvm_group.h"

#include <ivshmem/abi.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void
refused(const struct device *device, int code, const char *reason)
{
	struct ivshmem_error error = {0};
	struct ivshmem_kvm *kvm = NULL;

	CHECK_EQ(ivshmem_kvm_new(&kvm, &device->kvm_config, &error), code);
	CHECK_EQ(error.code, code);
	CHECK(kvm == NULL);
	if (!strstr(error.message, reason))
		FAIL("'%s' does not say '%s'", error.message, reason);
	CHECK_EQ(ivshmem_kvm_new(&kvm, &device->kvm_config, NULL), code);
}

TEST(what_is_no_vm_is_refused)
{
	struct device device;

	device_prepare(&device, NULL, 1, 1);
	device.kvm_config.file = "/dev/null";
	device.kvm_config.vm_fd = -1;
	refused(&device, -EINVAL, "no virtual machine");
	device.kvm_config.vm_fd = device.machine.kvm_fd;
	refused(&device, -EINVAL, "no virtual machine");
	device.kvm_config.vm_fd = device.machine.cpu_fd;
	refused(&device, -EINVAL, "no virtual machine");
	device.kvm_config.vm_fd = CHECK_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	refused(&device, -EINVAL, "no virtual machine");
	close(device.kvm_config.vm_fd);
	device_close(&device);
}

TEST(configurations_that_cannot_be)
{
	struct device device;
	struct group group;

	group_open(&group, 2);
	device_prepare(&device, &group, 1, 1);
	device.kvm_config.server = NULL;
	refused(&device, -EINVAL, "neither a server nor memory");
	device.kvm_config.server = group.address.sun_path;

	device.kvm_config.struct_size--;
	refused(&device, -EINVAL, "struct_size");
	device.kvm_config.struct_size++;
	device.config.struct_size--;
	refused(&device, -EINVAL, "struct_size");
	device.config.struct_size++;

	device.config.host_msix = true;
	refused(&device, -EINVAL, "host_msix");
	device.config.host_msix = false;
	device.config.vectors = 0;
	refused(&device, -EINVAL, "vectors must be");
	device.config.vectors = 1;
	device.config.revision = 7;
	refused(&device, -EINVAL, "revision must be");
	device.config.revision = 1;
	device.config.memory_size = GROUP_MEMORY / 2;
	refused(&device, -EINVAL, "the memory has 1 MiB, but memory_size says 512 KiB");
	device.config.memory_size = 0;
	device.kvm_config.server = "/nonexistent/socket";
	refused(&device, -ENOENT, "/nonexistent/socket");

	/* Of all that, nothing is left. */
	device.kvm_config.server = group.address.sun_path;
	device_attach(&device);
	device_close(&device);
	group_close(&group);
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
	} status = {.known = {.struct_size = sizeof(status)}, .unknown = 7};
	struct ivshmem_error error;
	struct ivshmem_kvm *kvm;
	struct device device;
	struct group group;

	group_open(&group, 1);
	device_prepare(&device, &group, 1, 1);
	ivshmem_kvm_config_init(&config.known, sizeof(config));
	CHECK_EQ(config.known.struct_size, sizeof(config));
	CHECK_EQ(config.unknown, 0);
	config.known = device.kvm_config;
	config.known.struct_size = sizeof(config);
	config.unknown = 1;
	CHECK_EQ(ivshmem_kvm_new(&kvm, &config.known, &error), -E2BIG);
	CHECK(strstr(error.message, "struct ivshmem_kvm_config"));
	config.unknown = 0;
	CHECK_EQ(ivshmem_kvm_new(&kvm, &config.known, &error), 0);

	CHECK_EQ(ivshmem_kvm_get_status(kvm, &status.known), 0);
	CHECK_EQ(status.known.struct_size, sizeof(status));
	CHECK(status.known.connected);
	CHECK_EQ(status.unknown, 0);
	status.known.struct_size = 0;
	CHECK_EQ(ivshmem_kvm_get_status(kvm, &status.known), -EINVAL);
	status.known.struct_size = SIZE_MAX;
	CHECK_EQ(ivshmem_kvm_get_status(kvm, &status.known), -E2BIG);
	ivshmem_kvm_free(kvm);
	device_close(&device);
	group_close(&group);
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
	struct ivshmem_client *client;
	struct device device;
	struct group group;

	group_open(&group, 1);
	client = group_join(&group);
	device_prepare(&device, &group, 1, 1);
	device.kvm_config.device = NULL;
	device_attach(&device);
	CHECK_EQ(ivshmem_kvm_id(device.kvm), 1);
	CHECK_EQ(ivshmem_kvm_memory_size(device.kvm), GROUP_MEMORY);
	CHECK_EQ(ivshmem_kvm_bar_size(device.kvm, 2), GROUP_MEMORY);
	CHECK_EQ(device_config_get(&device, 0, 4), 0x11101af4);
	CHECK_EQ(device_config_get(&device, 8, 1), 1);
	CHECK(device_status(&device).connected);
	CHECK(!ivshmem_kvm_is_master(device.kvm));
	CHECK_EQ(ivshmem_write(client, 100, "hello", 5), 0);
	CHECK_MEM((char *)ivshmem_kvm_memory(device.kvm) + 100, "hello", 5);
	device_close(&device);
	client = ivshmem_detach(client);
	group_close(&group);
}

TEST(the_server_dies_and_the_vm_goes_on)
{
	struct ivshmem_client *client;
	struct device device;
	struct group group;

	group_open(&group, 1);
	client = group_join(&group);
	device_open(&device, &group, 1, 1);
	device_entry(&device, 0, 0x41, false);
	device_msix(&device, MSIX_ENABLE);
	DEVICE_UNTIL(&device, ivshmem_kvm_peer_vectors(device.kvm, 0) == 1);
	while (ivshmem_peer_vectors(client, 1) != 1)
		CHECK(ivshmem_dispatch(client, 1000) >= 0);
	group_kill(&group);
	DEVICE_UNTIL(&device, !device_status(&device).connected);
	CHECK_EQ(device.journal.warnings, 1);
	CHECK(strstr(device.journal.warning, "the VM goes on"));

	CHECK_EQ(ivshmem_ring(client, 1, 0), 0);
	CHECK(machine_wait_interrupt(&device.machine, 0x41));
	machine_store(&device.machine, AT_BAR0 + 12, ivshmem_doorbell_value(0, 0));
	CHECK_EQ(ivshmem_wait(client, 0, 20000), 0);
	CHECK_EQ(device.machine.exits, 0);
	device_close(&device);
	client = ivshmem_detach(client);
	group_close(&group);
}

/* No server: memory only. */
TEST(a_plain_device)
{
	char path[128];
	struct device device;
	struct stat before;

	snprintf(path, sizeof(path), "%s/memory", test_directory());
	device_prepare(&device, NULL, 1, 1);
	device.kvm_config.file = path;
	device.config.memory_size = 65536;
	device_attach(&device);
	CHECK_SYS(stat(path, &before));
	CHECK_EQ(before.st_size, 65536);
	CHECK_EQ(ivshmem_kvm_bar_size(device.kvm, 1), 0);
	CHECK_EQ(device_config_get(&device, 0x34, 1), 0);
	CHECK(!device_status(&device).connected);
	device_place(&device);
	CHECK(device_status(&device).memory_mapped);
	machine_store(&device.machine, AT_BAR2 + 4, 4711);
	CHECK_EQ(((uint32_t *)ivshmem_kvm_memory(device.kvm))[1], 4711);
	CHECK_EQ(device.machine.exits, 0);
	/* There is nobody to be rung. */
	machine_store(&device.machine, AT_BAR0 + 12, 0);
	CHECK_EQ(device.machine.exits, 1);
	device_close(&device);
}

/* Revision 0: the guest may run before the memory is there. */
TEST(revision_0_by_name)
{
	struct device device;
	struct group group;

	group_open(&group, 2);
	device_prepare(&device, &group, 0, 2);
	device_attach(&device);
	device_place(&device);
	CHECK_EQ(device_config_get(&device, 8, 1), 0);
	CHECK_EQ(device_config_get(&device, 0x3d, 1), 1);
	DEVICE_UNTIL(&device, ivshmem_kvm_memory(device.kvm) != NULL);
	CHECK(device_status(&device).memory_mapped);
	CHECK_EQ(machine_load(&device.machine, AT_BAR0 + 8), 0);
	CHECK(ivshmem_kvm_is_master(device.kvm));
	/* ioeventfd is off by default. */
	CHECK_EQ(device_status(&device).ioeventfds, 0);
	device_close(&device);
	group_close(&group);
}

TEST(status_needs_its_size)
{
	struct ivshmem_kvm_status status = {0};
	struct device device;
	struct group group;

	group_open(&group, 1);
	device_open(&device, &group, 1, 1);
	CHECK_EQ(ivshmem_kvm_get_status(device.kvm, &status), -EINVAL);
	device_close(&device);
	group_close(&group);
}

/* Everything that is in force when the device goes is undone. */
TEST(free_leaves_nothing_in_the_vm)
{
	struct device device;
	struct group group;

	group_open(&group, 2);
	device_open(&device, &group, 1, 2);
	device_entry(&device, 0, 0x41, false);
	device_msix(&device, MSIX_ENABLE);
	CHECK_EQ(device_status(&device).ioeventfds, 2);
	CHECK_EQ(device_status(&device).irqfds, 1);
	CHECK(device_status(&device).memory_mapped);
	device.kvm = ivshmem_kvm_free(device.kvm);
	device.machine.device = NULL;

	CHECK_EQ(machine_load(&device.machine, AT_BAR2), UINT32_MAX);
	machine_store(&device.machine, AT_BAR0 + 12, ivshmem_doorbell_value(0, 0));
	CHECK_EQ(device.machine.exits, 2);
	/* Another one finds everything free. */
	device_attach(&device);
	device_place(&device);
	device_entry(&device, 0, 0x41, false);
	device_msix(&device, MSIX_ENABLE);
	CHECK_EQ(device_status(&device).ioeventfds, 2);
	CHECK_EQ(device_status(&device).irqfds, 1);
	CHECK(device_status(&device).memory_mapped);
	CHECK_EQ(device.journal.warnings, 0);
	device_close(&device);
	group_close(&group);
}

TEST(reset)
{
	struct device device;
	struct group group;

	group_open(&group, 1);
	device_open(&device, &group, 1, 1);
	device_entry(&device, 0, 0x41, false);
	device_msix(&device, MSIX_ENABLE);
	ivshmem_kvm_reset(device.kvm);
	CHECK_EQ(device_status(&device).ioeventfds, 0);
	CHECK_EQ(device_status(&device).irqfds, 0);
	CHECK(!device_status(&device).memory_mapped);
	CHECK_EQ(ivshmem_kvm_bar_address(device.kvm, 0), 0);
	CHECK_EQ(machine_load(&device.machine, AT_BAR2), UINT32_MAX);
	device_place(&device);
	device_entry(&device, 0, 0x41, false);
	device_msix(&device, MSIX_ENABLE);
	CHECK_EQ(device_status(&device).irqfds, 1);
	CHECK_EQ(device.journal.warnings, 0);
	device_close(&device);
	group_close(&group);
}
