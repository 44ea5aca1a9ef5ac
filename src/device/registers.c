/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * BAR0. Only aligned 32-bit accesses act: that is the specification's rule and the 2010 device's.
 * It keeps a byte-wise dump of BAR0 from clearing IntrStatus, and half a doorbell value from
 * ringing peer 0.
 */

#include <device/doorbells.h>

static bool
is_requested(const struct ivshmem_device *device)
{
	return (device->intr_status & device->intr_mask) != 0;
}

/* It sets bit 0 only: what the guest stored into the other bits stays. */
static void
interrupt(struct ivshmem_device *device)
{
	device->intr_status |= 1;
	device->registers_changed = true;
}

const struct pin registers_pin = {is_requested, interrupt};

static uint64_t
registers_size(const struct ivshmem_device *device)
{
	(void)device;
	return IVSHMEM_BAR_REGISTERS_SIZE;
}

static uint64_t
registers_read(struct ivshmem_device *device, uint64_t offset, unsigned size)
{
	uint32_t value;

	(void)size;
	switch (offset) {
	case IVSHMEM_REG_INTR_MASK:
		return device->intr_mask;
	case IVSHMEM_REG_INTR_STATUS:
		value = device->intr_status;
		device->intr_status = 0;
		device->registers_changed = true;
		return value;
	case IVSHMEM_REG_IV_POSITION:
		return (uint32_t)device->id;
	default:
		return 0;
	}
}

/* Guests of 2010 wait for a number that is not negative before they touch BAR2. */
static uint64_t
registers_read_2010(struct ivshmem_device *device, uint64_t offset, unsigned size)
{
	if (offset == IVSHMEM_REG_IV_POSITION && !device->has_memory)
		return (uint32_t)IVSHMEM_DEVICE_NO_ID;
	return registers_read(device, offset, size);
}

static void
registers_write(struct ivshmem_device *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	switch (offset) {
	case IVSHMEM_REG_INTR_MASK:
		device->intr_mask = (uint32_t)value;
		device->registers_changed = true;
		break;
	case IVSHMEM_REG_INTR_STATUS:
		device->intr_status = (uint32_t)value;
		device->registers_changed = true;
		break;
	case IVSHMEM_REG_DOORBELL:
		doorbells_register_write(device, (uint32_t)value);
		break;
	default:
		break;
	}
}

const struct bar registers_bar = {
	.size = registers_size,
	.widths = 4,
	.read = registers_read,
	.write = registers_write,
};

const struct bar registers_bar_2010 = {
	.size = registers_size,
	.widths = 4,
	.read = registers_read_2010,
	.write = registers_write,
};
