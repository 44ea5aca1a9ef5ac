/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The guest of tests/vmm as a BIOS: for a VMM that starts a processor as it comes out of reset, which is
 * QEMU. From the reset vector into flat protected mode, copy the guest to where it belongs, enter it.
 */

#include <mailbox.h>

#define ROM_SIZE 0x10000 /* up to the end of 4 GiB */

	.text
rom:
	.incbin GUEST_IMAGE
	.balign 4
image_end:

	/* The rest is in the last page, which is where 16 bits reach from the end. */
	.org ROM_SIZE - 4096
#include <flat.S>

	.code16
start:
	cli
	lgdtl %cs:(gdt_pointer - rom)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $CODE, $protected

	.code32
protected:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $rom, %esi
	movl $GUEST_IMAGE_AT, %edi
	movl $((image_end - rom) / 4), %ecx
	cld
	rep movsl
	movl $GUEST_IMAGE_AT, %eax
	jmp *%eax

	/* Here a processor begins. */
	.org ROM_SIZE - 16
	.code16
	jmp start
	.org ROM_SIZE

	.section .note.GNU-stack, "", @progbits
