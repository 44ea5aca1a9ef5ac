/* SPDX-License-Identifier: BSD-2-Clause */
#include <device/effects.h>

#include <device/config.h>
#include <device/msix.h>
#include <device/report.h>
#include <device/triggers.h>

static void
mapping_sync(struct ivshmem_device *device)
{
	uint64_t size = device->config.memory_size, wanted = 0;
	int r;

	/* One without the other is useless. */
	if (!device->ops.map_memory || !device->ops.unmap_memory)
		return;
	if (device->has_memory)
		wanted = ivshmem_device_bar_address(device, IVSHMEM_BAR_MEMORY);
	if (wanted == device->memory_wanted_at)
		return;
	if (device->memory_mapped)
		device->ops.unmap_memory(
			device, device->memory_wanted_at, size, device->config.data);
	device->memory_mapped = false;
	device->memory_wanted_at = wanted;
	if (!wanted)
		return;
	r = device->ops.map_memory(device, wanted, size, device->config.data);
	device->memory_mapped = r >= 0;
	if (r < 0)
		report_warning(device, WARNING_MAPPING,
			"the host does not map the shared memory (error %d): every access to it goes through this process, which is slower",
			-r);
}

/* A function whose MSI-X is enabled must not use its pin at all. */
bool
intx_requested(const struct ivshmem_device *device)
{
	const struct pin *pin = device->personality->pin;

	return pin && !msix_enabled(device) && pin->is_requested(device);
}

/* The status bit in config space shows the request even when the command register keeps it from the
 * pin. */
static void
intx_sync(struct ivshmem_device *device)
{
	bool request = intx_requested(device);
	bool disabled = (config_word(device, CONFIG_COMMAND) & COMMAND_INTX_DISABLE) != 0;
	uint8_t *status = &device->space[CONFIG_STATUS];
	bool level = request && !disabled;

	*status = (uint8_t)((*status & ~STATUS_INTERRUPT) | (request ? STATUS_INTERRUPT : 0));
	if (level == device->intx)
		return;
	device->intx = level;
	if (device->ops.set_intx)
		device->ops.set_intx(device, level, device->config.data);
}

void
effects_sync(struct ivshmem_device *device)
{
	mapping_sync(device);
	triggers_sync(device);
	msix_sync(device);
	intx_sync(device);
	device->touched |= device->registers_changed;
	device->registers_changed = false;
}
