/* SPDX-License-Identifier: BSD-2-Clause */

/* Interrupt table, local APIC, IOAPIC; and counting what comes. */
#include "guest.h"

#define APIC_AT       0xfee00000u
#define APIC_EOI      0x0b0u
#define APIC_SPURIOUS 0x0f0u
#define APIC_ENABLE   0x100u

#define IOAPIC_SELECT 0xfec00000u
#define IOAPIC_WINDOW 0xfec00010u
#define IOAPIC_LEVEL  0x8000u

#define CODE_SEGMENT   8u
#define INTERRUPT_GATE 0x8e00u
#define ENTRY_SIZE     16u

#define FIRST_INTERRUPT 0x20

extern const uint8_t interrupt_entries[];
/* Called by start.S. */
void interrupt_handle(uint32_t number, uint32_t at);

static uint32_t gates[256][2];

void
interrupts_init(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) pointer = {sizeof(gates) - 1, (uint32_t)gates};

	for (uint32_t i = 0; i < 256; i++) {
		uint32_t entry = (uint32_t)interrupt_entries + i * ENTRY_SIZE;

		gates[i][0] = CODE_SEGMENT << 16 | (entry & 0xffff);
		gates[i][1] = (entry & 0xffff0000u) | INTERRUPT_GATE;
	}
	__asm__ volatile("lidt %0" : : "m"(pointer));

	/* The old interrupt controllers stay silent: all comes through the APICs. */
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
	*word_at(APIC_AT + APIC_SPURIOUS) = APIC_ENABLE | GUEST_SPURIOUS;
	__asm__ volatile("sti");
}

void
interrupts_setup_intx(uint32_t pin)
{
	*word_at(IOAPIC_SELECT) = 0x11 + 2 * pin;
	*word_at(IOAPIC_WINDOW) = 0;
	*word_at(IOAPIC_SELECT) = 0x10 + 2 * pin;
	*word_at(IOAPIC_WINDOW) = IOAPIC_LEVEL | GUEST_INTX_INTERRUPT;
}

_Noreturn static void
give_up(uint32_t number, uint32_t at)
{
	mailbox->trouble_at = at;
	mailbox->trouble = number + 1;
	for (;;)
		__asm__ volatile("cli; hlt");
}

void
interrupt_handle(uint32_t number, uint32_t at)
{
	if (number < FIRST_INTERRUPT || number == GUEST_SPURIOUS)
		give_up(number, at);
	mailbox->interrupts[number]++;
	if (number == GUEST_INTX_INTERRUPT) {
		if (mailbox->interrupts[number] > mailbox->intx_ignore &&
			*word_at(ivshmem.bar0 + REGISTER_STATUS) != 0)
			mailbox->interrupts[GUEST_INTX_SERVED]++;
	} else if (number >= GUEST_MSIX_INTERRUPT && mailbox->watch) {
		mailbox->seen = *word_at(mailbox->watch);
	}
	*word_at(APIC_AT + APIC_EOI) = 0;
}

uint32_t
interrupts_wait(uint8_t interrupt, uint32_t count)
{
	volatile uint32_t *came = &mailbox->interrupts[interrupt];

	/* Between sti and hlt no interrupt is taken, so none can slip by. */
	for (;;) {
		__asm__ volatile("cli");
		if ((int32_t)(*came - count) >= 0 || mailbox->stop)
			break;
		__asm__ volatile("sti; hlt" : : : "memory");
	}
	__asm__ volatile("sti" : : : "memory");
	return *came;
}
