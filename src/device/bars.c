/* SPDX-License-Identifier: BSD-2-Clause */

/* Accesses to the BARs find their rooms here, and BAR2 is answered; what a BAR's place means. */

#include <device/model.h>

#include <endian.h>

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
			"the host does not map the shared memory (error %d): every access to it "
			"goes through this process, which is slower",
			-r);
}

void
bars_sync(struct ivshmem_device *device)
{
	mapping_sync(device);
	triggers_sync(device);
}

/* ---- the shared memory ----------------------------------------------------------------------- */

static uint64_t
memory_size(const struct ivshmem_device *device)
{
	return device->config.memory_size;
}

/*
 * Other processes change this memory at any moment, so an aligned access is one load or store of
 * the processor; what is not aligned promises nothing and goes byte by byte.
 */
static uint64_t
memory_read(struct ivshmem_device *device, uint64_t offset, unsigned size)
{
	uint8_t *at = device->memory;
	uint64_t value = 0;

	if (!at)
		return UINT64_MAX;
	at += offset;
	if ((uintptr_t)at % size == 0) {
		switch (size) {
		case 1:
			return __atomic_load_n(at, __ATOMIC_RELAXED);
		case 2:
			return le16toh(__atomic_load_n((uint16_t *)(void *)at, __ATOMIC_RELAXED));
		case 4:
			return le32toh(__atomic_load_n((uint32_t *)(void *)at, __ATOMIC_RELAXED));
		default:
			return le64toh(__atomic_load_n((uint64_t *)(void *)at, __ATOMIC_RELAXED));
		}
	}
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)__atomic_load_n(at + i, __ATOMIC_RELAXED) << (8 * i);
	return value;
}

static void
memory_write(struct ivshmem_device *device, uint64_t offset, unsigned size, uint64_t value)
{
	uint8_t *at = device->memory;

	if (!at)
		return;
	at += offset;
	if ((uintptr_t)at % size == 0) {
		switch (size) {
		case 1:
			__atomic_store_n(at, (uint8_t)value, __ATOMIC_RELAXED);
			return;
		case 2:
			__atomic_store_n(
				(uint16_t *)(void *)at, htole16((uint16_t)value), __ATOMIC_RELAXED);
			return;
		case 4:
			__atomic_store_n(
				(uint32_t *)(void *)at, htole32((uint32_t)value), __ATOMIC_RELAXED);
			return;
		default:
			__atomic_store_n((uint64_t *)(void *)at, htole64(value), __ATOMIC_RELAXED);
			return;
		}
	}
	for (unsigned i = 0; i < size; i++)
		__atomic_store_n(at + i, (uint8_t)(value >> (8 * i)), __ATOMIC_RELAXED);
}

const struct bar memory_bar_32 = {
	.size = memory_size,
	.read = memory_read,
	.write = memory_write,
};

const struct bar memory_bar_64 = {
	.size = memory_size,
	.type = BAR_TYPE_64 | BAR_PREFETCHABLE,
	.read = memory_read,
	.write = memory_write,
};

/* ---- accesses -------------------------------------------------------------------------------- */

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

	if (!bar)
		return all_ones(size);
	if (!bar->read || !acts(bar, offset, size))
		return 0;
	return bar->read(device, offset, size) & all_ones(size);
}

void
ivshmem_device_write(struct ivshmem_device *device, unsigned number, uint64_t offset, unsigned size,
	uint64_t value)
{
	const struct bar *bar = bar_at(device, number, offset, size);

	if (!bar || !acts(bar, offset, size))
		return;
	bar->write(device, offset, size, value);
}
