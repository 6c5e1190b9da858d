/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that waits for interrupts, none of which come: its vCPU stays in KVM_RUN. */
	.include "pvh.inc"
	movw $0x3f8, %dx
	movb $'i', %al
	outb %al, %dx
	sti
1:	hlt
	jmp 1b
	.section .note.GNU-stack, "", @progbits
