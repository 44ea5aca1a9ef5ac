/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Entry, and what C cannot say about interrupts. The processor arrives in protected mode with flat
 * segments; from where its segment registers came does not matter.
 */

#include "mailbox.h"

	.section .rodata
#include "flat.S"

	.section .entry, "ax"
	.globl entry
entry:
	cli
	lgdt gdt_pointer
	ljmp $CODE, $1f
1:	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl %eax, %ss
	movl $GUEST_STACK_AT, %esp
	cld
	call guest_main
2:	hlt
	jmp 2b

	/*
	 * An entry for every interrupt number, 16 bytes each. Exceptions with an error code end up in
	 * a guest that only reports them and stops, so it does not matter that their stack differs.
	 */
	.text
	.balign 16
	.globl interrupt_entries
interrupt_entries:
	.set number, 0
	.rept 256
	.balign 16
	pushl $number
	jmp interrupt_common
	.set number, number + 1
	.endr

	/*
	 * Back to the interrupted code without iret: the stack has number, eip, cs, eflags, and becomes
	 * eflags, eip for a popf and a ret. An interrupt that comes right behind the popf finds a stack
	 * that is as good as any.
	 */
interrupt_common:
	pushal
	pushl 36(%esp)
	pushl 36(%esp)
	call interrupt_handle
	addl $8, %esp
	popal
	pushl %eax
	pushl %ebx
	movl 12(%esp), %eax
	movl 20(%esp), %ebx
	movl %eax, 20(%esp)
	movl %ebx, 16(%esp)
	popl %ebx
	popl %eax
	addl $8, %esp
	popfl
	ret

	.section .note.GNU-stack, "", @progbits
