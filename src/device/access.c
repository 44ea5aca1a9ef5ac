/* SPDX-License-Identifier: BSD-2-Clause */

/* Accesses of the guest to config space and to the BARs. Each BAR answers its own. */

#include <device/config.h>
#include <device/effects.h>

/* The bytes of one write take effect together, so that a guest may write both halves of BAR2 at
 * once. */
void
ivshmem_device_config_write(
	struct ivshmem_device *device, unsigned offset, const void *buffer, size_t length)
{
	config_store(device, offset, buffer, length);
	device->touched = true;
	effects_sync(device);
}

static const struct bar *
bar_at(const struct ivshmem_device *device, unsigned bar, uint64_t offset, unsigned size)
{
	uint64_t bar_size = ivshmem_device_bar_size(device, bar);

	if (size != 1 && size != 2 && size != 4 && size != 8)
		return NULL;
	if (bar_size < size || offset > bar_size - size)
		return NULL;
	return device->personality->bars[bar];
}

static bool
acts(const struct bar *bar, uint64_t offset, unsigned size)
{
	return bar->widths == 0 || ((bar->widths & size) && offset % size == 0);
}

static uint64_t
all_ones(unsigned size)
{
	return size == 0 || size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

uint64_t
ivshmem_device_read(struct ivshmem_device *device, unsigned number, uint64_t offset, unsigned size)
{
	const struct bar *bar = bar_at(device, number, offset, size);
	uint64_t value;

	if (!bar)
		return all_ones(size);
	if (!bar->read || !acts(bar, offset, size))
		return 0;
	value = bar->read(device, offset, size);
	if (device->registers_changed)
		effects_sync(device);
	return value & all_ones(size);
}

void
ivshmem_device_write(struct ivshmem_device *device, unsigned number, uint64_t offset, unsigned size,
	uint64_t value)
{
	const struct bar *bar = bar_at(device, number, offset, size);

	if (!bar || !acts(bar, offset, size))
		return;
	bar->write(device, offset, size, value);
	if (device->registers_changed)
		effects_sync(device);
}
