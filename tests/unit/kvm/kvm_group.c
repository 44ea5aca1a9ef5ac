/* SPDX-License-Identifier: BSD-2-Clause */
#include "kvm_group.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct group group;
struct device device;
struct ivshmem_client *client;

/* ---- device ----------------------------------------------------------------------------------- */

static void
write_log(enum ivshmem_log_level level, const char *message, void *data)
{
	(void)data;
	if (level != IVSHMEM_LOG_WARNING)
		return;
	device.warnings++;
	snprintf(device.warning, sizeof(device.warning), "%s", message);
	fprintf(stderr, "warning: %s\n", message);
}

void
device_prepare(unsigned revision, unsigned vectors)
{
	memset(&device, 0, sizeof(device));
	machine_open(&device.machine);
	ivshmem_device_config_init(&device.config, sizeof(device.config), revision);
	device.config.vectors = vectors;
	device.config.memory_size = GROUP_MEMORY;
	ivshmem_kvm_config_init(&device.kvm_config, sizeof(device.kvm_config));
	device.kvm_config.device = &device.config;
	device.kvm_config.vm_fd = device.machine.fd;
	device.kvm_config.server = group.server ? group.address.sun_path : NULL;
	device.kvm_config.memory_slot = DEVICE_SLOT;
	device.kvm_config.log = write_log;
}

void
device_attach(void)
{
	struct ivshmem_error error;

	if (ivshmem_kvm_new(&device.kvm, &device.kvm_config, &error) < 0)
		FAIL("%s", error.message);
	device.machine.device = device.kvm;
	if (device.kvm_config.server)
		DEVICE_UNTIL(
			ivshmem_kvm_id(device.kvm) >= 0 &&
			ivshmem_kvm_peer_vectors(device.kvm,
				(uint16_t)ivshmem_kvm_id(device.kvm)) == device.config.vectors);
}

void
device_place(void)
{
	config_put(0x10, 4, AT_BAR0);
	config_put(0x14, 4, AT_BAR1);
	config_put(0x18, 4, AT_BAR2);
	command(COMMAND_DECODE | COMMAND_MASTER);
}

void
device_close(void)
{
	device.kvm = ivshmem_kvm_free(device.kvm);
	CHECK(device.kvm == NULL);
	machine_close(&device.machine);
	device.machine.run = NULL;
}

void
device_wait(void)
{
	struct pollfd ready = {.fd = ivshmem_kvm_fd(device.kvm), .events = POLLIN};

	CHECK_SYS(poll(&ready, 1, 10));
	CHECK_EQ(ivshmem_kvm_dispatch(device.kvm), 0);
}

/* ---- the scene -------------------------------------------------------------------------------- */

void
scene_prepare(unsigned revision, unsigned vectors)
{
	scene_close();
	group_open(&group, vectors);
	device_prepare(revision, vectors);
}

void
scene_begin(void)
{
	device_attach();
	client = group_join(&group);
	client_expects(device.config.vectors);
	DEVICE_UNTIL(ivshmem_kvm_peer_vectors(device.kvm, 1) == device.config.vectors);
	device_place();
}

void
scene_open(unsigned revision, unsigned vectors)
{
	scene_prepare(revision, vectors);
	scene_begin();
}

void
scene_close(void)
{
	if (device.machine.run)
		device_close();
	client = ivshmem_detach(client);
	if (group.address.sun_path[0] == '\0')
		return;
	group_close(&group);
	CHECK_SYS(unlink(group.address.sun_path));
	group.address.sun_path[0] = '\0';
}

void
test_after(void)
{
	scene_close();
}

/* ---- the client ------------------------------------------------------------------------------- */

void
client_expects(unsigned vectors)
{
	while (ivshmem_peer_vectors(client, (uint16_t)ivshmem_kvm_id(device.kvm)) != (int)vectors)
		CHECK(ivshmem_dispatch(client, 1000) >= 0);
}

void
client_rings(unsigned vector)
{
	CHECK_EQ(ivshmem_ring(client, (uint16_t)ivshmem_kvm_id(device.kvm), vector), 0);
}

void
client_hears(unsigned vector)
{
	CHECK_EQ(ivshmem_wait(client, (int)vector, 20000), 0);
	CHECK_EQ(ivshmem_take(client, vector), 1);
}

/* ---- the guest -------------------------------------------------------------------------------- */

void
guest_store(uint32_t address, uint32_t value)
{
	machine_store(&device.machine, address, value);
}

uint32_t
guest_load(uint32_t address)
{
	return machine_load(&device.machine, address);
}

bool
interrupted(uint8_t interrupt)
{
	return machine_interrupted(&device.machine, interrupt);
}

bool
wait_interrupt(uint8_t interrupt)
{
	return machine_wait_interrupt(&device.machine, interrupt);
}

/* Config space is little-endian, as everything that has this KVM. */
void
config_put(unsigned offset, unsigned size, uint32_t value)
{
	ivshmem_kvm_config_write(device.kvm, offset, &value, size);
}

uint32_t
config_get(unsigned offset, unsigned size)
{
	uint32_t value = 0;

	ivshmem_kvm_config_read(device.kvm, offset, &value, size);
	return value;
}

void
command(unsigned value)
{
	config_put(COMMAND, 2, value);
}

void
msix(unsigned control)
{
	config_put(MSIX_CONTROL, 2, control);
}

void
entry_mask(unsigned vector, bool masked)
{
	ivshmem_kvm_write(device.kvm, IVSHMEM_BAR_MSIX, vector * 16 + 12, 4, masked);
}

void
entry_write(unsigned vector, uint8_t interrupt, bool masked)
{
	entry_mask(vector, true);
	ivshmem_kvm_write(device.kvm, IVSHMEM_BAR_MSIX, vector * 16, 8, MACHINE_MSI_ADDRESS);
	ivshmem_kvm_write(device.kvm, IVSHMEM_BAR_MSIX, vector * 16 + 8, 4, interrupt);
	entry_mask(vector, masked);
}

bool
is_pending(unsigned vector)
{
	uint64_t bits = ivshmem_kvm_read(device.kvm, IVSHMEM_BAR_MSIX, 0x800 + vector / 32u * 4, 4);

	return bits >> vector % 32 & 1;
}

/* ---- questions -------------------------------------------------------------------------------- */

struct ivshmem_kvm_status
status(void)
{
	struct ivshmem_kvm_status now = {.struct_size = sizeof(now)};

	CHECK_EQ(ivshmem_kvm_get_status(device.kvm, &now), 0);
	return now;
}

void
check_warnings(unsigned n, const char *words)
{
	CHECK_EQ(device.warnings, n);
	CHECK_HAS(device.warning, words);
}
