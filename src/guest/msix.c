/* SPDX-License-Identifier: BSD-2-Clause */
#include <guest/msix.h>

#include <guest/capability.h>

#include <endian.h>
#include <linux/pci_regs.h>

#define N_BARS 6

/* A message to the first processor's interrupt controller, in the form that no IOMMU remaps. No
 * processor has a vector 0, so the message would do nothing even if it were sent. */
#define ADDRESS UINT32_C(0xfee00000)
#define DATA    0

struct msix
msix_find(const uint8_t *config, size_t length)
{
	size_t at = capability_next(config, length, 0, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	const uint8_t *capability = config + at, *table = capability + PCI_MSIX_TABLE;
	struct msix msix = {0};
	unsigned flags;

	if (at == 0)
		return msix;
	flags = capability[PCI_MSIX_FLAGS] | (unsigned)capability[PCI_MSIX_FLAGS + 1] << 8;
	msix.bar = table[0] & PCI_MSIX_TABLE_BIR;
	if (msix.bar >= N_BARS)
		return (struct msix){0};
	msix.offset = ((uint32_t)table[0] | (uint32_t)table[1] << 8 | (uint32_t)table[2] << 16 |
			      (uint32_t)table[3] << 24) &
		      PCI_MSIX_TABLE_OFFSET;
	msix.n = (flags & PCI_MSIX_FLAGS_QSIZE) + 1;
	msix.enabled = flags & PCI_MSIX_FLAGS_ENABLE;
	return msix;
}

void
msix_fill(volatile uint32_t *table, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		volatile uint32_t *entry = table + i * (MSIX_ENTRY_SIZE / sizeof(*table));

		entry[PCI_MSIX_ENTRY_DATA / 4] = htole32(DATA);
		entry[PCI_MSIX_ENTRY_UPPER_ADDR / 4] = 0;
		entry[PCI_MSIX_ENTRY_LOWER_ADDR / 4] = htole32(ADDRESS);
	}
}
