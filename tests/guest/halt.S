/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that halts for good: interrupts off. */
	.include "pvh.inc"
	cli
	hlt
	jmp entry
	.section .note.GNU-stack, "", @progbits
