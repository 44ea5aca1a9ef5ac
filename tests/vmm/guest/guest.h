/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

/*
 * The guest of the tests: 32-bit protected mode without paging, flat segments, one processor. It
 * has no library and no instruction that a kernel which emulates guests (KVM without hardware
 * support) does not know: no floating point, no vectors, no iret.
 */

#include "mailbox.h"

#include <stdbool.h>
#include <stdint.h>

#define mailbox ((volatile struct guest_mailbox *)GUEST_MAILBOX_AT)

/* Registers of BAR0. */
enum { REGISTER_MASK = 0, REGISTER_STATUS = 4, REGISTER_ID = 8, REGISTER_DOORBELL = 12 };

/* The device, once it was set up. */
struct ivshmem {
	uint32_t function; /* its config space, as port 0xcf8 takes it; 0: there is none */
	uint32_t bar0, bar2;
	uint32_t words, words_shift; /* BAR4, and its words for each peer; 0: there is none */
	uint32_t doorbell;           /* what is written to when we ring */
};
extern struct ivshmem ivshmem;

/* ---- the processor ---------------------------------------------------------------------------- */

static inline volatile uint32_t *
word_at(uint32_t address)
{
	return (volatile uint32_t *)address;
}

static inline void
out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void
out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint32_t
in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint64_t
cycles(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* ---- interrupts.c ----------------------------------------------------------------------------- */

void interrupts_init(void);
void interrupts_setup_intx(uint32_t pin);
/* Sleep until `interrupt` came `count` times altogether, or the test says stop; how often it came. */
uint32_t interrupts_wait(uint8_t interrupt, uint32_t count);

/* ---- pci.c ------------------------------------------------------------------------------------ */

uint32_t config_read(uint32_t offset, uint32_t size);
void config_write(uint32_t offset, uint32_t size, uint32_t value);
bool pci_find(void);
/* The address of a peer's doorbell word, or 0. */
uint32_t pci_word(uint32_t peer, uint32_t vector);
/* Place and enable everything; `vectors` of MSI-X, or as many as there are. Returns how many. */
uint32_t pci_setup(uint32_t vectors, uint32_t *memory_size);

#endif
