/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Config space: 256 bytes and, for each bit, whether the guest may write it. Everything a guest can
 * do here, BAR sizing included, is storing into the writable bits; what a BAR's address or the
 * command register means is looked up when it is needed.
 */

#include <device/config.h>

static void
put_word(uint8_t *bytes, unsigned offset, unsigned value)
{
	bytes[offset] = (uint8_t)value;
	bytes[offset + 1] = (uint8_t)(value >> 8);
}

static void
put_dword(uint8_t *bytes, unsigned offset, uint32_t value)
{
	put_word(bytes, offset, value & 0xffff);
	put_word(bytes, offset + 2, value >> 16);
}

static uint32_t
get_dword(const uint8_t *bytes, unsigned offset)
{
	return (uint32_t)bytes[offset] | (uint32_t)bytes[offset + 1] << 8 |
	       (uint32_t)bytes[offset + 2] << 16 | (uint32_t)bytes[offset + 3] << 24;
}

uint16_t
config_word(const struct ivshmem_device *device, unsigned offset)
{
	return (uint16_t)get_dword(device->space, offset);
}

static unsigned
bar_offset(unsigned bar)
{
	return CONFIG_BAR + 4 * bar;
}

static void
bar_init(struct ivshmem_device *device, unsigned number, const struct bar *bar)
{
	unsigned offset = bar_offset(number);
	uint64_t size = bar->size(device), mask = ~(size - 1);

	device->bar_sizes[number] = size;
	if (size == 0)
		return;
	device->space[offset] = bar->type;
	put_dword(device->writable, offset, (uint32_t)mask);
	if (bar->type & BAR_TYPE_64)
		put_dword(device->writable, offset + 4, (uint32_t)(mask >> 32));
}

/* One after the other in the list; the doorbell words never come without MSI-X. */
static void
capabilities_init(struct ivshmem_device *device)
{
	uint8_t *space = device->space;

	if (device->msix_vectors == 0)
		return;
	put_word(space, CONFIG_STATUS, STATUS_CAPABILITIES);
	space[CONFIG_CAPABILITIES] = CONFIG_MSIX;
	space[CONFIG_MSIX] = 0x11;
	put_word(space, CONFIG_MSIX_CONTROL, device->msix_vectors - 1);
	put_word(
		device->writable, CONFIG_MSIX_CONTROL, MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
	put_dword(space, CONFIG_MSIX + 4, IVSHMEM_BAR_MSIX);
	put_dword(space, CONFIG_MSIX + 8, device->pba_offset | IVSHMEM_BAR_MSIX);

	if (!device->config.doorbell_bar)
		return;
	space[CONFIG_MSIX + 1] = CONFIG_DOORBELL;
	space += CONFIG_DOORBELL;
	space[0] = IVSHMEM_CAP_ID;
	space[IVSHMEM_CAP_LENGTH] = IVSHMEM_CAP_SIZE;
	space[IVSHMEM_CAP_TYPE] = IVSHMEM_CAP_TYPE_DOORBELL;
	space[IVSHMEM_CAP_BAR] = IVSHMEM_BAR_DOORBELL;
	space[IVSHMEM_CAP_SHIFT] = (uint8_t)ivshmem_device_doorbell_shift(device);
	put_dword(space, IVSHMEM_CAP_PEERS, IVSHMEM_MAX_ID + 1);
	put_dword(space, IVSHMEM_CAP_SIGNATURE, IVSHMEM_CAP_SIGNATURE_IVDB);
}

void
config_init(struct ivshmem_device *device)
{
	uint8_t *space = device->space;

	put_word(space, CONFIG_VENDOR, IVSHMEM_PCI_VENDOR);
	put_word(space, CONFIG_DEVICE, IVSHMEM_PCI_DEVICE);
	put_word(device->writable, CONFIG_COMMAND,
		COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR |
			COMMAND_INTX_DISABLE);
	space[CONFIG_REVISION] = device->personality->number;
	space[CONFIG_CLASS] = 0x05; /* memory controller; its subclass 0 is RAM */
	device->writable[CONFIG_CACHE_LINE] = 0xff;
	device->writable[CONFIG_LATENCY] = 0xff;
	put_word(space, CONFIG_SUBSYSTEM_VENDOR, IVSHMEM_PCI_VENDOR);
	put_word(space, CONFIG_SUBSYSTEM, 0x1100);
	device->writable[CONFIG_INTERRUPT_LINE] = 0xff;
	space[CONFIG_INTERRUPT_PIN] = device->personality->pin ? 1 : 0; /* INTA */

	for (unsigned i = 0; i < N_BARS; i++)
		if (device->personality->bars[i])
			bar_init(device, i, device->personality->bars[i]);
	capabilities_init(device);
}

/* All that can be written is 0 after power-on. */
void
config_reset(struct ivshmem_device *device)
{
	for (unsigned i = 0; i < CONFIG_SIZE; i++)
		device->space[i] = (uint8_t)(device->space[i] & ~device->writable[i]);
}

uint64_t
ivshmem_device_bar_size(const struct ivshmem_device *device, unsigned bar)
{
	return bar < N_BARS ? device->bar_sizes[bar] : 0;
}

/*
 * An address of 0 means that nobody placed the BAR yet, and one that ends at the very top is what
 * sizing leaves behind. A guest should turn decoding off around both, but few do.
 */
uint64_t
ivshmem_device_bar_address(const struct ivshmem_device *device, unsigned bar)
{
	unsigned offset = bar_offset(bar);
	uint64_t size = ivshmem_device_bar_size(device, bar), address, top = UINT32_MAX;

	if (size == 0 || !(config_word(device, CONFIG_COMMAND) & COMMAND_MEMORY))
		return 0;
	address = get_dword(device->space, offset);
	if (address & BAR_TYPE_64) {
		address |= (uint64_t)get_dword(device->space, offset + 4) << 32;
		top = UINT64_MAX;
	}
	/* A multiple of the size, so the last byte's address does not overflow. */
	address &= ~(size - 1);
	return address + (size - 1) < top ? address : 0;
}

void
ivshmem_device_config_read(
	const struct ivshmem_device *device, unsigned offset, void *buffer, size_t length)
{
	uint8_t *bytes = buffer;

	for (size_t i = 0; i < length; i++)
		bytes[i] = i < CONFIG_SIZE && offset < CONFIG_SIZE - i ? device->space[offset + i]
								       : 0xff;
}

void
config_store(struct ivshmem_device *device, unsigned offset, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length && i < CONFIG_SIZE && offset < CONFIG_SIZE - i; i++) {
		uint8_t mask = device->writable[offset + i];
		uint8_t *byte = &device->space[offset + i];

		*byte = (uint8_t)((*byte & ~mask) | (bytes[i] & mask));
	}
}
