/* SPDX-License-Identifier: BSD-2-Clause */

/* For the assembler: the segments of a processor in flat protected mode, and where they are. */

#define CODE 8
#define DATA 16

	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
gdt_pointer:
	.word . - gdt - 1
	.long gdt
