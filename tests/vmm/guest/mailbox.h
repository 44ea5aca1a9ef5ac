/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_MAILBOX_H
#define GUEST_MAILBOX_H

/*
 * How a test talks to its guest: a page of the guest's memory at a fixed address. The test writes a
 * command and counts `request` up; the guest carries it out, writes the results and sets `done` to
 * the same number. In between, it reads the port GUEST_IDLE_PORT, where the VMM keeps it until
 * there is a command. A VMM that does not know the port (QEMU) answers at once, and the guest looks
 * again.
 *
 * Both sides are the same machine: 32-bit little-endian words, nothing else.
 */

/* Those without u are also for the assembler. */
#define GUEST_IMAGE_AT   0x10000 /* where the image is loaded; its first byte is its entry */
#define GUEST_MAILBOX_AT 0x8000u
#define GUEST_STACK_AT   0x80000   /* grows down */
#define GUEST_FREE_AT    0x100000u /* the guest does not use what is above it */
#define GUEST_MAGIC      0x6d766769u

#define GUEST_IDLE_PORT 0x5e0

/* Where the guest's driver places the BARs, and where the tests move them. */
#define GUEST_BAR0_AT 0xe0000000u
#define GUEST_BAR1_AT 0xe0100000u
#define GUEST_BAR2_AT 0xc0000000u
#define GUEST_BAR4_AT 0xd0000000u

/* Interrupt numbers (IDT entries): MSI-X vector n has GUEST_MSIX_INTERRUPT + n. */
#define GUEST_WAKE_INTERRUPT 0x30 /* from the VMM, to end a hlt */
#define GUEST_INTX_INTERRUPT 0x31
#define GUEST_INTX_SERVED    0x32 /* not an interrupt: those of INTx that found IntrStatus set */
#define GUEST_MSIX_INTERRUPT 0x40
#define GUEST_MSIX_VECTORS   128
#define GUEST_SPURIOUS       0xff

/* An x86 MSI to this guest's only processor: address, and the interrupt number as data. */
#define GUEST_MSI_ADDRESS 0xfee00000u

#ifndef __ASSEMBLER__

#include <stdint.h>

enum guest_command {
	/* Nothing; interrupts that wait are taken. */
	GUEST_NOP,

	/* offset, size in bytes -> value; offset, size, value: config space of the device, by ports */
	GUEST_CONFIG_READ,
	GUEST_CONFIG_WRITE,

	/* address, size (1, 2, 4) -> value; address, size, value */
	GUEST_READ,
	GUEST_WRITE,

	/* What a driver does: find the device, place the BARs, enable decoding and bus mastering, set
	 * up and enable so many vectors of MSI-X.
	 * vectors -> 1 if the device was found, size of BAR2, vectors set up, own id */
	GUEST_SETUP,

	/* address of BAR0: the device is set up already and placed there, or there is none, but
	 * something that is rung as if there were */
	GUEST_SETUP_FIXED,

	/* peer, vector -> address of its doorbell word in BAR4, or 0 if there are none */
	GUEST_WORD,
	/* address: there the commands below write when they ring, and not to the doorbell register,
	 * until the device is set up again */
	GUEST_AIM,

	/* IOAPIC pin: its interrupt, level triggered, is GUEST_INTX_INTERRUPT */
	GUEST_SETUP_INTX,

	/* doorbell value, times -> cycles (low, high) */
	GUEST_RING,

	/* value, times, address: before each ring, its number is stored at the address; ends early on
	 * `stop` -> rings done. Times 0: until `stop`. */
	GUEST_RING_COUNTED,

	/* interrupt number, count: sleep until it came so often altogether, or `stop` -> how often */
	GUEST_WAIT,

	/* value, interrupt number, times: ring and sleep until the interrupt came once more
	 * -> cycles (low, high), interrupts that were one too many */
	GUEST_PING,
	/* value, interrupt number, times: sleep until the interrupt came once more, and ring
	 * -> interrupts that were one too many, 0, 0 */
	GUEST_PONG,

	/* address, value, other: both are written in turn until `stop`, `other` last -> how often */
	GUEST_TOGGLE,
	/* offset, size, value, other: the same in config space */
	GUEST_TOGGLE_CONFIG,

	/* to, from, bytes, times -> cycles (low, high): copies with the processor's string move */
	GUEST_COPY,
	/* address, bytes, seed: words that follow from the seed; and -> how many are not so */
	GUEST_FILL,
	GUEST_CHECK,
};

struct guest_mailbox {
	uint32_t magic; /* the guest runs */
	uint32_t request, done;
	uint32_t command;
	uint32_t arguments[4], results[4];
	uint32_t stop; /* 1: end what waits or goes on for ever */

	/* An exception or an interrupt that nobody set up: its number + 1, and where it came. */
	uint32_t trouble, trouble_at;

	/* What the interrupt handler does besides counting, at each MSI-X interrupt: */
	uint32_t watch; /* an address, or 0: its word is copied to `seen` */
	uint32_t seen;
	/* at each INTx interrupt, from that on whose count is greater than this: IntrStatus is
	 * read, which lowers the line */
	uint32_t intx_ignore;

	uint32_t interrupts[256]; /* by interrupt number: how often it came */
};

#endif

#endif
