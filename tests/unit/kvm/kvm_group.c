/* SPDX-License-Identifier: BSD-2-Clause */
#include "kvm_group.h"

#include <ivshmem/abi.h>
#include <test.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- device ----------------------------------------------------------------------------------- */

static void
write_log(enum ivshmem_log_level level, const char *message, void *data)
{
	struct journal *journal = data;

	if (level != IVSHMEM_LOG_WARNING)
		return;
	journal->warnings++;
	snprintf(journal->warning, sizeof(journal->warning), "%s", message);
	fprintf(stderr, "warning: %s\n", message);
}

void
device_prepare(
	struct device *device, const struct group *group, unsigned revision, unsigned vectors)
{
	memset(device, 0, sizeof(*device));
	machine_open(&device->machine);
	ivshmem_device_config_init(&device->config, sizeof(device->config), revision);
	device->config.vectors = vectors;
	device->config.memory_size = GROUP_MEMORY;
	ivshmem_kvm_config_init(&device->kvm_config, sizeof(device->kvm_config));
	device->kvm_config.device = &device->config;
	device->kvm_config.vm_fd = device->machine.fd;
	device->kvm_config.server = group ? group->address.sun_path : NULL;
	device->kvm_config.memory_slot = DEVICE_SLOT;
	device->kvm_config.log = write_log;
	device->kvm_config.data = &device->journal;
}

void
device_attach(struct device *device)
{
	struct ivshmem_error error;

	if (ivshmem_kvm_new(&device->kvm, &device->kvm_config, &error) < 0)
		FAIL("%s", error.message);
	device->machine.device = device->kvm;
	if (device->kvm_config.server)
		DEVICE_UNTIL(device, ivshmem_kvm_id(device->kvm) >= 0 &&
					     ivshmem_kvm_peer_vectors(device->kvm,
						     (uint16_t)ivshmem_kvm_id(device->kvm)) ==
						     device->config.vectors);
}

void
device_place(struct device *device)
{
	device_config_put(device, 0x10, 4, AT_BAR0);
	device_config_put(device, 0x14, 4, AT_BAR1);
	device_config_put(device, 0x18, 4, AT_BAR2);
	device_command(device, COMMAND_DECODE | COMMAND_MASTER);
}

void
device_open(struct device *device, const struct group *group, unsigned revision, unsigned vectors)
{
	device_prepare(device, group, revision, vectors);
	device_attach(device);
	device_place(device);
}

void
device_close(struct device *device)
{
	CHECK(ivshmem_kvm_free(device->kvm) == NULL);
	machine_close(&device->machine);
}

void
device_wait(struct device *device)
{
	struct pollfd ready = {.fd = ivshmem_kvm_fd(device->kvm), .events = POLLIN};

	CHECK_SYS(poll(&ready, 1, 10));
	CHECK_EQ(ivshmem_kvm_dispatch(device->kvm), 0);
}

/* ---- accesses --------------------------------------------------------------------------------- */

void
device_config_put(struct device *device, unsigned offset, unsigned size, uint32_t value)
{
	const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
		(uint8_t)(value >> 24)};

	ivshmem_kvm_config_write(device->kvm, offset, bytes, size);
}

uint32_t
device_config_get(struct device *device, unsigned offset, unsigned size)
{
	uint8_t bytes[4] = {0};

	ivshmem_kvm_config_read(device->kvm, offset, bytes, size);
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

void
device_command(struct device *device, unsigned value)
{
	device_config_put(device, COMMAND, 2, value);
}

void
device_msix(struct device *device, unsigned control)
{
	device_config_put(device, MSIX_CONTROL, 2, control);
}

void
device_mask(struct device *device, unsigned vector, bool masked)
{
	ivshmem_kvm_write(device->kvm, IVSHMEM_BAR_MSIX, vector * 16 + 12, 4, masked);
}

void
device_entry(struct device *device, unsigned vector, uint8_t interrupt, bool masked)
{
	device_mask(device, vector, true);
	ivshmem_kvm_write(device->kvm, IVSHMEM_BAR_MSIX, vector * 16, 8, MACHINE_MSI_ADDRESS);
	ivshmem_kvm_write(device->kvm, IVSHMEM_BAR_MSIX, vector * 16 + 8, 4, interrupt);
	device_mask(device, vector, masked);
}

bool
device_pending(struct device *device, unsigned vector)
{
	uint64_t bits =
		ivshmem_kvm_read(device->kvm, IVSHMEM_BAR_MSIX, 0x800 + vector / 32u * 4, 4);

	return bits >> vector % 32 & 1;
}

struct ivshmem_kvm_status
device_status(struct device *device)
{
	struct ivshmem_kvm_status status = {.struct_size = sizeof(status)};

	CHECK_EQ(ivshmem_kvm_get_status(device->kvm, &status), 0);
	return status;
}
