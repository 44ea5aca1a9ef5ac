/* SPDX-License-Identifier: BSD-2-Clause */
#include <guest/capability.h>

#include <linux/pci_regs.h>

size_t
capability_next(const uint8_t *config, size_t length, size_t after, uint8_t id, size_t size)
{
	size_t at;

	if (length < PCI_STD_HEADER_SIZEOF || !(config[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return 0;
	at = after ? config[after + PCI_CAP_LIST_NEXT] : config[PCI_CAPABILITY_LIST];
	for (unsigned i = 0; i < CAPABILITIES_MAX; i++) {
		at &= ~(size_t)3;
		if (at < PCI_STD_HEADER_SIZEOF || at + 2 > length)
			break;
		if (config[at + PCI_CAP_LIST_ID] == id && at + size <= length)
			return at;
		at = config[at + PCI_CAP_LIST_NEXT];
	}
	return 0;
}
