/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that halts for good: interrupts off. */
	.section .note.xen, "a", @note
	.balign 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long entry

	.text
	.code32
	.globl entry
entry:
	cli
	hlt
	jmp entry
	.section .note.GNU-stack, "", @progbits
