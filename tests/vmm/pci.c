/* SPDX-License-Identifier: BSD-2-Clause */
#include <pci.h>

#include <string.h>

#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc

#define ADDRESS_ENABLE UINT32_C(0x80000000)

static struct attachment *
selected(const struct pci_bus *bus)
{
	uint32_t bus_and_function = bus->address & 0x00ff0700;
	unsigned slot = (bus->address >> 11) & 31;

	if (!(bus->address & ADDRESS_ENABLE) || bus_and_function != 0 || slot < PCI_FIRST_SLOT ||
		slot >= PCI_FIRST_SLOT + PCI_SLOTS)
		return NULL;
	return bus->functions[slot - PCI_FIRST_SLOT];
}

static void
access_config(struct pci_bus *bus, unsigned byte, void *data, unsigned length, bool is_write)
{
	struct attachment *function = selected(bus);
	unsigned offset = (bus->address & 0xfc) + byte;

	if (!function || byte + length > 4) {
		if (!is_write)
			memset(data, 0xff, length);
	} else if (is_write) {
		function->ops->config_write(function, offset, data, length);
	} else {
		function->ops->config_read(function, offset, data, length);
	}
}

bool
pci_port(struct pci_bus *bus, uint16_t port, void *data, unsigned length, bool is_write)
{
	if (port == PORT_ADDRESS && length == sizeof(bus->address)) {
		if (is_write)
			memcpy(&bus->address, data, length);
		else
			memcpy(data, &bus->address, length);
		return true;
	}
	if (port < PORT_DATA || port >= PORT_DATA + 4)
		return false;
	access_config(bus, port - (unsigned)PORT_DATA, data, length, is_write);
	return true;
}

bool
pci_memory(struct pci_bus *bus, uint64_t address, void *data, unsigned length, bool is_write)
{
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		struct attachment *function = bus->functions[i];

		if (function && function->ops->memory(function, address, data, length, is_write))
			return true;
	}
	return false;
}
