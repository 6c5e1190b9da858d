/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that is busy for ever: it counts at 4 MiB, so that its progress can be seen, and writes a
 * byte to the UART at each 65536th step.
 */
	.include "pvh.inc"
	movw $0x3f8, %dx
	movb $'.', %al
1:	incl 0x400000
	cmpw $0, 0x400000
	jne 1b
	outb %al, %dx
	jmp 1b
	.section .note.GNU-stack, "", @progbits
