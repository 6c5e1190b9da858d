/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PVH kernel that marks its init as Firecracker's guests do (its boot timer: 123 stored at 0xc0000000), then writes
 * one byte to the UART and resets.
 */
	.include "pvh.inc"
	movb $123, 0xc0000000
	movw $0x3f8, %dx
	movb $'x', %al
	outb %al, %dx
	movb $0xfe, %al
	outb %al, $0x64
1:	hlt
	jmp 1b
	.section .note.GNU-stack, "", @progbits
