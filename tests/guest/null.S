/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The null guest: a PVH kernel that writes one byte to the UART and resets. What is left of a boot when
 * the guest does nothing.
 */
	.include "pvh.inc"
	movw $0x3f8, %dx
	movb $'x', %al
	outb %al, %dx
	movb $0xfe, %al
	outb %al, $0x64
1:	hlt
	jmp 1b
	.section .note.GNU-stack, "", @progbits
