/* SPDX-License-Identifier: BSD-2-Clause */

/* A driver's first minute: find the device, place it, set up its interrupts. */
#include "guest.h"

#include <linux/pci_regs.h>

#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc

#define IVSHMEM_VENDOR_DEVICE 0x11101af4u

/* The capability of the doorbell words, as docs/device.md has it. */
#define WORDS_LENGTH    16u
#define WORDS_KIND      1u
#define WORDS_BAR       4u
#define WORDS_SIGNATURE 0x42445649u

#define N_SLOTS 32u

struct ivshmem ivshmem;

static void
config_select(uint32_t function, uint32_t offset)
{
	out32(PORT_ADDRESS, 0x80000000u | function | (offset & 0xfcu));
}

uint32_t
config_read(uint32_t offset, uint32_t size)
{
	uint16_t port = (uint16_t)(PORT_DATA + (offset & 3));
	uint32_t value;

	config_select(ivshmem.function, offset);
	value = 0;
	if (size == 1)
		__asm__ volatile("inb %w1, %b0" : "+a"(value) : "d"(port));
	else if (size == 2)
		__asm__ volatile("inw %w1, %w0" : "+a"(value) : "d"(port));
	else
		value = in32(port);
	return value;
}

void
config_write(uint32_t offset, uint32_t size, uint32_t value)
{
	uint16_t port = (uint16_t)(PORT_DATA + (offset & 3));

	config_select(ivshmem.function, offset);
	if (size == 1)
		__asm__ volatile("outb %b0, %w1" : : "a"(value), "d"(port));
	else if (size == 2)
		__asm__ volatile("outw %w0, %w1" : : "a"(value), "d"(port));
	else
		out32(port, value);
}

bool
pci_find(void)
{
	for (uint32_t slot = 0; slot < N_SLOTS; slot++) {
		ivshmem.function = slot << 11;
		if (config_read(0, 4) == IVSHMEM_VENDOR_DEVICE)
			return true;
	}
	ivshmem.function = 0;
	return false;
}

/* The size of a BAR, which is then placed at `address`. 0: there is no such BAR. */
static uint32_t
place(uint32_t bar, uint32_t address)
{
	uint32_t offset = 0x10 + 4 * bar, mask;

	config_write(offset, 4, 0xffffffffu);
	mask = config_read(offset, 4) & ~0xfu;
	config_write(offset, 4, mask ? address : 0);
	if (mask && (config_read(offset, 4) & 0x6) == 0x4)
		config_write(offset + 4, 4, 0);
	return mask & -mask;
}

static uint32_t
find_msix(void)
{
	uint32_t at = config_read(0x34, 1);

	while (at && (config_read(at, 1) != PCI_CAP_ID_MSIX))
		at = config_read(at + 1, 1);
	return at;
}

static uint32_t
setup_msix(uint32_t vectors)
{
	uint32_t at = find_msix(), table, there;

	if (!at)
		return 0;
	there = (config_read(at + 2, 2) & 0x7ff) + 1;
	if (vectors > there)
		vectors = there;
	/* The table's BAR is 1. */
	table = GUEST_BAR1_AT + (config_read(at + 4, 4) & ~7u);
	config_write(at + 2, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	for (uint32_t i = 0; i < vectors; i++) {
		*word_at(table + 16 * i) = GUEST_MSI_ADDRESS;
		*word_at(table + 16 * i + 4) = 0;
		*word_at(table + 16 * i + 8) = GUEST_MSIX_INTERRUPT + i;
		*word_at(table + 16 * i + 12) = 0;
	}
	config_write(at + 2, 2, PCI_MSIX_FLAGS_ENABLE);
	return vectors;
}

/* Whether this is the capability, and the words are where we expect them. */
static bool
tells_words(uint32_t at)
{
	return config_read(at, 1) == PCI_CAP_ID_VNDR && config_read(at + 2, 1) >= WORDS_LENGTH &&
	       config_read(at + 3, 1) == WORDS_KIND && config_read(at + 4, 1) == WORDS_BAR &&
	       config_read(at + 12, 4) == WORDS_SIGNATURE;
}

static void
setup_words(void)
{
	uint32_t at = config_read(0x34, 1);

	ivshmem.words = 0;
	if (at == 0 || place(WORDS_BAR, GUEST_BAR4_AT) == 0)
		return;
	while (at && !tells_words(at))
		at = config_read(at + 1, 1);
	if (!at)
		return;
	ivshmem.words = GUEST_BAR4_AT;
	ivshmem.words_shift = config_read(at + 5, 1);
}

uint32_t
pci_word(uint32_t peer, uint32_t vector)
{
	if (ivshmem.words == 0)
		return 0;
	return ivshmem.words + 4 * ((peer << ivshmem.words_shift) + vector);
}

uint32_t
pci_setup(uint32_t vectors, uint32_t *memory_size)
{
	config_write(4, 2, 0);
	ivshmem.bar0 = GUEST_BAR0_AT;
	ivshmem.bar2 = GUEST_BAR2_AT;
	place(0, ivshmem.bar0);
	place(1, GUEST_BAR1_AT);
	*memory_size = place(2, ivshmem.bar2);
	setup_words();
	config_write(4, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	return vectors ? setup_msix(vectors) : 0;
}
