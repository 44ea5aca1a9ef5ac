/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * BAR0 and INTx. Only aligned 32-bit accesses act: that is the specification's rule and the 2010
 * device's. It keeps a byte-wise dump of BAR0 from clearing IntrStatus, and half a doorbell value
 * from ringing peer 0.
 */

#include <device/model.h>

/* ---- INTx ------------------------------------------------------------------------------------ */

/* A function whose MSI-X is enabled must not use its pin at all. */
bool
intx_requested(const struct ivshmem_device *device)
{
	return device->revision->interrupt_pin != 0 && !msix_enabled(device) &&
	       (device->intr_status & device->intr_mask) != 0;
}

/* The status bit in config space shows the request even when the command register keeps it from the
 * pin. */
void
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

/* A bit of its own: what the guest stored into the others stays. */
void
intx_interrupt(struct ivshmem_device *device)
{
	device->intr_status |= 1;
	intx_sync(device);
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint32_t
take_status(struct ivshmem_device *device)
{
	uint32_t status = device->intr_status;

	device->intr_status = 0;
	intx_sync(device);
	return status;
}

/*
 * Guests of revision 0 wait for a number that is not negative before they touch BAR2, so the id is
 * withheld until the memory is there, too.
 */
static uint32_t
position(const struct ivshmem_device *device)
{
	if (device->revision->allows_late && !device->has_memory)
		return (uint32_t)IVSHMEM_DEVICE_NO_ID;
	return (uint32_t)device->id;
}

uint32_t
registers_read(struct ivshmem_device *device, uint64_t offset, unsigned size)
{
	if (size != 4 || offset % 4 != 0)
		return 0;
	switch (offset) {
	case IVSHMEM_REG_INTR_MASK:
		return device->intr_mask;
	case IVSHMEM_REG_INTR_STATUS:
		return take_status(device);
	case IVSHMEM_REG_IV_POSITION:
		return position(device);
	default:
		return 0;
	}
}

void
registers_write(struct ivshmem_device *device, uint64_t offset, unsigned size, uint32_t value)
{
	if (size != 4 || offset % 4 != 0)
		return;
	switch (offset) {
	case IVSHMEM_REG_INTR_MASK:
		device->intr_mask = value;
		intx_sync(device);
		break;
	case IVSHMEM_REG_INTR_STATUS:
		device->intr_status = value;
		intx_sync(device);
		break;
	case IVSHMEM_REG_DOORBELL:
		routing_doorbell(device, value);
		break;
	default:
		break;
	}
}
