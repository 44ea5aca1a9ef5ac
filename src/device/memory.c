/* SPDX-License-Identifier: BSD-2-Clause */

/* BAR2: the shared memory, for those accesses that the host passes to the model. */

#include <device/model.h>

#include <base/error.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>

int
memory_at_least(const struct ivshmem_device *device, uint64_t size, struct ivshmem_error *reterr)
{
	uint64_t wanted = device->config.memory_size;

	if (size < wanted)
		return error_set(reterr, -EINVAL,
			"shared memory of %" PRIu64 " bytes is too small for a size of %" PRIu64
			": give the device a smaller size, or the server a larger memory",
			size, wanted);
	return 0;
}

int
memory_exactly(const struct ivshmem_device *device, uint64_t size, struct ivshmem_error *reterr)
{
	uint64_t wanted = device->config.memory_size;

	if (size > wanted)
		return error_set(reterr, -EINVAL,
			"shared memory of %" PRIu64 " bytes is larger than BAR2, which has %" PRIu64
			"; in revision %u they must be equal",
			size, wanted, device->personality->number);
	return memory_at_least(device, size, reterr);
}

static uint64_t
memory_size(const struct ivshmem_device *device)
{
	return device->config.memory_size;
}

/*
 * Other processes change this memory at any moment. So an aligned access is one load or store of
 * the processor. An access that is not aligned promises nothing, and goes byte by byte.
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
