/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Config space: 256 bytes and, for each bit, whether the guest may write it. All that a guest can
 * do here, BAR sizing included, is to store into the writable bits. Code that needs the address of
 * a BAR or the command register reads it from here each time.
 */

#include <device/config.h>

#include <string.h>

void
config_put_word(uint8_t *bytes, unsigned offset, unsigned value)
{
	bytes[offset] = (uint8_t)value;
	bytes[offset + 1] = (uint8_t)(value >> 8);
}

void
config_put_dword(uint8_t *bytes, unsigned offset, uint32_t value)
{
	config_put_word(bytes, offset, value & 0xffff);
	config_put_word(bytes, offset + 2, value >> 16);
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
	config_put_dword(device->writable, offset, (uint32_t)mask);
	if (bar->type & BAR_TYPE_64)
		config_put_dword(device->writable, offset + 4, (uint32_t)(mask >> 32));
}

/* One after the other, from the end of the header on. */
static void
capabilities_init(struct ivshmem_device *device)
{
	unsigned link = CONFIG_CAPABILITIES, offset = CONFIG_HEADER_END;

	for (unsigned i = 0; i < N_CAPABILITIES; i++) {
		const struct capability *capability = device->personality->capabilities[i];
		unsigned size = capability ? capability->size(device) : 0;

		if (size == 0)
			continue;
		config_put_word(device->space, CONFIG_STATUS, STATUS_CAPABILITIES);
		device->space[link] = (uint8_t)offset;
		device->space[offset] = capability->id;
		capability->init(device, offset);
		link = offset + 1;
		offset += size;
	}
	device->capabilities_end = offset;
}

void
config_init(struct ivshmem_device *device)
{
	const struct identity *identity = device->personality->identity;

	config_put_word(device->space, CONFIG_VENDOR, identity->vendor);
	config_put_word(device->space, CONFIG_DEVICE, identity->device);
	config_put_word(device->writable, CONFIG_COMMAND,
		COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR |
			COMMAND_INTX_DISABLE);
	device->space[CONFIG_REVISION] = device->personality->pci_revision;
	memcpy(&device->space[CONFIG_CLASS], identity->class_code, sizeof(identity->class_code));
	device->writable[CONFIG_CACHE_LINE] = 0xff;
	device->writable[CONFIG_LATENCY] = 0xff;
	config_put_word(device->space, CONFIG_SUBSYSTEM_VENDOR, identity->subsystem_vendor);
	config_put_word(device->space, CONFIG_SUBSYSTEM, identity->subsystem);
	device->writable[CONFIG_INTERRUPT_LINE] = 0xff;
	device->space[CONFIG_INTERRUPT_PIN] = device->personality->pin ? 1 : 0; /* INTA */

	for (unsigned i = 0; i < N_BARS; i++)
		if (device->personality->bars[i])
			bar_init(device, i, device->personality->bars[i]);
	capabilities_init(device);
}

/* Everything that a guest can write is 0 after power-on. */
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
 * An address of 0 means that nobody has placed the BAR yet. Sizing leaves an address behind with
 * which the BAR ends at the very top. A guest should turn decoding off meanwhile, but few do.
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
	/* It is a multiple of the size, so the address of the last byte does not overflow. */
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
