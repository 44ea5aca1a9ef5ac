// SPDX-License-Identifier: GPL-2.0
/* The doorbell: the register that every device has, and the words that some have. */
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "core.h"

/* The capability of the doorbell words: offsets from its start. */
#define CAP_LENGTH 2
#define CAP_TYPE 3
#define CAP_BAR 4
#define CAP_SHIFT 5
#define CAP_PEERS 8
#define CAP_SIGNATURE 12
#define CAP_SIZE 16
#define CAP_TYPE_WORDS 1
#define CAP_SIGNATURE_IVDB 0x42445649
#define MAX_PEERS 65536
#define MAX_SHIFT 11 /* 2048 vectors, which is what MSI-X can have */

void ivshmem_ring(struct ivshmem_device *device, u16 peer, u16 vector)
{
	const struct ivshmem_words *words = &device->words;

	/*
	 * writel() comes after all stores before it, so what the peer is told of is there when it
	 * looks.
	 */
	if (words->mapped && peer < words->peers && vector >> words->shift == 0)
		writel(1, words->mapped + (((size_t)peer << words->shift) + vector) * sizeof(u32));
	else
		writel((u32)peer << 16 | vector, device->registers + IVSHMEM_REG_DOORBELL);
}
EXPORT_SYMBOL_GPL(ivshmem_ring);

s32 ivshmem_own_id(struct ivshmem_device *device)
{
	return (s32)readl(device->registers + IVSHMEM_REG_IV_POSITION);
}
EXPORT_SYMBOL_GPL(ivshmem_own_id);

static bool read_words(struct pci_dev *pdev, int at, struct ivshmem_words *words, int *bar)
{
	u8 length, type, shift, which;
	u32 peers, signature;

	pci_read_config_byte(pdev, at + CAP_LENGTH, &length);
	pci_read_config_byte(pdev, at + CAP_TYPE, &type);
	if (length < CAP_SIZE || at + CAP_SIZE > PCI_CFG_SPACE_SIZE || type != CAP_TYPE_WORDS)
		return false;
	pci_read_config_byte(pdev, at + CAP_BAR, &which);
	pci_read_config_byte(pdev, at + CAP_SHIFT, &shift);
	pci_read_config_dword(pdev, at + CAP_PEERS, &peers);
	pci_read_config_dword(pdev, at + CAP_SIGNATURE, &signature);
	if (signature != CAP_SIGNATURE_IVDB || which <= IVSHMEM_BAR_MEMORY ||
	    which > PCI_STD_RESOURCE_END || shift > MAX_SHIFT || peers == 0 || peers > MAX_PEERS)
		return false;
	words->peers = peers;
	words->shift = shift;
	words->size = ((u64)peers << shift) * sizeof(u32);
	words->start = pci_resource_start(pdev, which);
	*bar = which;
	return pci_resource_flags(pdev, which) & IORESOURCE_MEM && words->start &&
	       words->size <= pci_resource_len(pdev, which);
}

/* Without words, or without room to map them, the register rings. */
void ivshmem_find_words(struct ivshmem_device *device)
{
	struct pci_dev *pdev = device->pdev;
	struct ivshmem_words words = { 0 };
	u8 at;
	int bar;

	for (at = pci_find_capability(pdev, PCI_CAP_ID_VNDR); at;
	     at = pci_find_next_capability(pdev, at, PCI_CAP_ID_VNDR)) {
		if (!read_words(pdev, at, &words, &bar))
			continue;
		words.alone =
			PAGE_ALIGNED(words.start) && PAGE_ALIGNED(pci_resource_len(pdev, bar));
		words.mapped = ioremap(words.start, words.size);
		device->words = words;
		return;
	}
}
