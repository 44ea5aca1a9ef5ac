/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_PCI_H
#define VMM_PCI_H

/*
 * The PCI bus: config space by way of the ports 0xcf8 and 0xcfc, and who answers which address.
 */

#include <attachment.h>

#include <stdbool.h>
#include <stdint.h>

#define PCI_FIRST_SLOT 3
#define PCI_SLOTS      2

struct pci_bus {
	uint32_t address; /* what was written to 0xcf8 */
	struct attachment *functions[PCI_SLOTS];
};

/* Whether the port is one of the bus. */
bool pci_port(struct pci_bus *bus, uint16_t port, void *data, unsigned length, bool is_write);

/* Memory that is no RAM. False: nobody's. */
bool pci_memory(struct pci_bus *bus, uint64_t address, void *data, unsigned length, bool is_write);

#endif
