/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The null guest: a PVH kernel that writes one byte to the UART and resets. What is left of a boot when
 * the guest does nothing.
 */
	.section .note.xen, "a", @note
	.balign 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long entry

	.text
	.code32
	.globl entry
entry:
	movw $0x3f8, %dx
	movb $'x', %al
	outb %al, %dx
	movb $0xfe, %al
	outb %al, $0x64
1:	hlt
	jmp 1b
	.section .note.GNU-stack, "", @progbits
