/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that is busy for ever and wants nothing. */
	.section .note.xen, "a", @note
	.balign 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long entry

	.text
	.code32
	.globl entry
entry:
	pause
	jmp entry
	.section .note.GNU-stack, "", @progbits
