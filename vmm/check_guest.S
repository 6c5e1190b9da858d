/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tiny guest of `vmm check`: one routine per stage, each of which needs one thing of the CPU
 * that an ordinary kernel needs, and answers on CG_PORT_DONE. The host copies it to CG_BASE afresh
 * for every stage and starts the stage in long mode (CG_LONG_MODE: in 32-bit protected mode without
 * paging) with the stack at CG_STACK and interrupts off.
 *
 * "step" is stored before each thing that may go wrong, so that the host can name it.
 */
#include "vmm/check_guest.h"

#define G(label) (label - check_guest + CG_BASE)

	.macro STEP n
	movl	$\n, CG_SH_STEP
	.endm
	.macro PASS
	xor	%eax, %eax
	out	%eax, $CG_PORT_DONE
	jmp	stop
	.endm
	/* Goes to `wrong` unless the two are equal. */
	.macro WANT what, where
	cmp	\what, \where
	jne	wrong
	.endm

	.section .rodata.check_guest, "a", @progbits
	.globl	check_guest, check_guest_end
	.hidden	check_guest, check_guest_end
	.balign	16
check_guest:
	.long	long_mode - check_guest
	.long	speed - check_guest
	.long	invalid_opcode - check_guest
	.long	page_fault - check_guest
	.long	breakpoint - check_guest
	.long	ring3 - check_guest
	.long	syscall_sysret - check_guest
	.long	popcnt_insn - check_guest
	.long	fpu - check_guest
	.long	fxsave_fxrstor - check_guest
	.long	xsave_xrstor - check_guest
	.long	cmpxchg16b_insn - check_guest
	.long	smap - check_guest
	.long	mmio_exit - check_guest
	.long	event - check_guest
	.long	readonly - check_guest
	.long	msi - check_guest
	.long	oneshot - check_guest
	.long	deadline - check_guest
	.long	exit_user - check_guest
	.long	exit_kernel - check_guest
	.long	gdt - check_guest
	.long	idt - check_guest
	.long	tss - check_guest

	.balign	16
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* code, 64 bits */
	.quad	0x00cf93000000ffff	/* data */
	.quad	0x00cffb000000ffff	/* user code, 32 bits: SYSRET counts from it */
	.quad	0x00cff3000000ffff	/* user data */
	.quad	0x00affb000000ffff	/* user code, 64 bits */
	.word	0x67, G(tss)		/* TSS */
	.long	0x00008900
	.quad	0
	.quad	0x00cf9b000000ffff	/* code, 32 bits */
	.balign	16
gdtr:
	.word	CG_GDT_LEN - 1
	.quad	G(gdt)
idtr:
	.word	CG_IDT_LEN - 1
	.quad	G(idt)

	.balign	16
tss:
	.long	0
	.quad	CG_STACK_TRAP		/* RSP0 */
	.fill	0x68 - 12, 1, 0

	/* Interrupt gate of 64 bits; all addresses fit in 16. */
	.macro GATE address, type
	.word	\address, CG_SEL_CODE, \type << 8, 0
	.quad	0
	.endm
	.balign	16
idt:
	.set	vec, 0
	.rept	32
	GATE	(stubs - check_guest + CG_BASE + vec * 16), 0x8e
	.set	vec, vec + 1
	.endr
	.fill	(CG_VEC_TIMER - 32) * 16, 1, 0
	GATE	G(irq), 0x8e
	GATE	G(irq), 0x8e
	.fill	(CG_VEC_SPURIOUS - CG_VEC_MSI - 1) * 16, 1, 0
	GATE	G(spurious), 0x8e
	.fill	(CG_VEC_USER - CG_VEC_SPURIOUS - 1) * 16, 1, 0
	GATE	G(from_user), 0xee

/* ---- exceptions and interrupts --------------------------------------------------------------- */
	.code64
	.balign	16
stubs:
	.set	vec, 0
	.rept	32
	.balign	16
	/* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX push an error code; the others get a zero. */
	.if	((0x60227d00 >> vec) & 1) == 0
	push	$0
	.endif
	push	$vec
	jmp	trap
	.set	vec, vec + 1
	.endr

	.balign	16
trap:
	push	%rax
	mov	8(%rsp), %rax
	cmp	CG_SH_EXPECT, %eax
	jne	1f
	incq	CG_SH_COUNT
	mov	16(%rsp), %rax
	mov	%rax, CG_SH_ERROR
	mov	24(%rsp), %rax
	mov	%rax, CG_SH_RIP
	mov	%cr2, %rax
	mov	%rax, CG_SH_CR2
	mov	CG_SH_RESUME, %rax
	test	%rax, %rax
	jz	2f
	mov	%rax, 24(%rsp)
2:	pop	%rax
	add	$16, %rsp
	iretq
1:	out	%eax, $CG_PORT_TRAP
	jmp	stop

irq:
	incq	CG_SH_COUNT
	push	%rdx
	mov	$CG_LAPIC, %edx
	movl	$0, 0xb0(%rdx)		/* EOI */
	pop	%rdx
spurious:
	iretq

	/* The end of what ring 3 does: RBX says whether it is content. */
from_user:
	cmpq	$(CG_SEL_UCODE | 3), 8(%rsp)
	jne	wrong
	cmpq	$(CG_SEL_UDATA | 3), 32(%rsp)
	jne	wrong
	test	%rbx, %rbx
	jnz	wrong
	PASS

wrong:
	mov	$1, %eax
	out	%eax, $CG_PORT_DONE
stop:
	cli
	hlt
	jmp	stop

	/* Leaves for ring 3 at RAX. */
enter_user:
	push	$(CG_SEL_UDATA | 3)
	push	$CG_STACK_USER
	push	$2
	push	$(CG_SEL_UCODE | 3)
	push	%rax
	iretq

/* ---- stages ---------------------------------------------------------------------------------- */
	.code32
long_mode:
	STEP	1
	.byte	0x0f, 0x01, 0x15	/* lgdt gdtr */
	.long	G(gdtr)
	mov	%cr4, %eax
	or	$0x20, %eax		/* PAE */
	mov	%eax, %cr4
	mov	$CG_PML4, %eax
	mov	%eax, %cr3
	STEP	2
	mov	$0xc0000080, %ecx	/* EFER */
	rdmsr
	or	$0x101, %eax		/* LME, SCE */
	wrmsr
	STEP	3
	mov	%cr0, %eax
	or	$0x80010000, %eax	/* PG, WP */
	mov	%eax, %cr0
	STEP	4
	.byte	0xea			/* ljmp */
	.long	G(1f)
	.word	CG_SEL_CODE
	.code64
1:	STEP	5
	mov	$CG_SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$CG_STACK, %rsp
	lidt	idtr(%rip)
	mov	$CG_SEL_TSS, %eax
	ltr	%ax
	STEP	6
	mov	$0xc0000080, %ecx
	rdmsr
	and	$0x400, %eax		/* LMA */
	jz	wrong
	movabs	$0x123456789abcdef0, %rax
	push	%rax
	pop	%rcx
	WANT	%rax, %rcx
	PASS

speed:
	STEP	1
	mov	CG_SH_PARAM, %rcx
	.balign	16, 0x90
1:	dec	%rcx
	jnz	1b
	PASS

invalid_opcode:
	STEP	1
	movl	$6, CG_SH_EXPECT
	lea	2f(%rip), %rax
	mov	%rax, CG_SH_RESUME
	lea	1f(%rip), %rbx
1:	ud2
2:	STEP	2
	WANT	CG_SH_RIP, %rbx
	cmpq	$1, CG_SH_COUNT
	jne	wrong
	PASS

page_fault:
	STEP	1
	movl	$14, CG_SH_EXPECT
	lea	2f(%rip), %rax
	mov	%rax, CG_SH_RESUME
	lea	1f(%rip), %rbx
	mov	$CG_NOT_PRESENT, %ecx
1:	mov	(%rcx), %eax
2:	STEP	2
	WANT	CG_SH_RIP, %rbx
	WANT	CG_SH_CR2, %rcx
	cmpq	$0, CG_SH_ERROR		/* a read, not present, supervisor */
	jne	wrong
	cmpq	$1, CG_SH_COUNT
	jne	wrong
	PASS

breakpoint:
	STEP	1
	movl	$3, CG_SH_EXPECT
	lea	1f(%rip), %rbx
	int3
1:	STEP	2
	WANT	CG_SH_RIP, %rbx
	cmpq	$1, CG_SH_COUNT
	jne	wrong
	PASS

ring3:
	STEP	1
	lea	1f(%rip), %rax
	xor	%ebx, %ebx
	jmp	enter_user
1:	STEP	2
	int	$CG_VEC_USER
	jmp	wrong

syscall_sysret:
	STEP	1
	mov	$0xc0000081, %ecx	/* STAR */
	xor	%eax, %eax
	mov	$((CG_SEL_UBASE | 3) << 16 | CG_SEL_CODE), %edx
	wrmsr
	mov	$0xc0000082, %ecx	/* LSTAR */
	lea	3f(%rip), %rax
	xor	%edx, %edx
	wrmsr
	mov	$0xc0000084, %ecx	/* SFMASK */
	mov	$0x200, %eax
	wrmsr
	STEP	2
	lea	1f(%rip), %rax
	jmp	enter_user
1:	STEP	3
	lea	2f(%rip), %r8
	mov	$0x1111, %edi
	mov	$1, %ebx
	syscall
2:	STEP	7
	cmp	$0x2222, %edi
	jne	4f
	xor	%ebx, %ebx
4:	int	$CG_VEC_USER
	jmp	wrong
3:	STEP	4			/* in the kernel, on the user's stack */
	mov	%cs, %eax
	cmp	$CG_SEL_CODE, %eax
	jne	wrong
	STEP	5
	WANT	%rcx, %r8
	cmp	$0x1111, %edi
	jne	wrong
	mov	$0x2222, %edi
	STEP	6
	sysretq

popcnt_insn:
	STEP	1
	mov	$0xf0f01, %ecx
	popcnt	%rcx, %rax
	cmp	$9, %rax
	jne	wrong
	PASS

fpu:
	STEP	1
	fninit
	STEP	2
	fld1
	fld1
	faddp
	STEP	3
	fwait
	STEP	4
	fistpl	CG_SCRATCH
	cmpl	$2, CG_SCRATCH
	jne	wrong
	PASS

	/* Saves a known XMM0, clears it, gets it back; the area is at CG_SCRATCH. */
	.macro XMM_KNOWN
	movabs	$0x0123456789abcdef, %rbx
	movq	%rbx, %xmm0
	.endm
	.macro XMM_CHECK
	movq	%xmm0, %rcx
	WANT	%rbx, %rcx
	.endm

fxsave_fxrstor:
	STEP	1
	fninit
	XMM_KNOWN
	STEP	2
	fxsave64 CG_SCRATCH
	pxor	%xmm0, %xmm0
	STEP	3
	fxrstor64 CG_SCRATCH
	XMM_CHECK
	PASS

xsave_xrstor:
	STEP	1
	mov	%cr4, %rax
	or	$0x40000, %rax		/* OSXSAVE */
	mov	%rax, %cr4
	xor	%ecx, %ecx
	xor	%edx, %edx
	mov	$3, %eax		/* x87, SSE */
	STEP	2
	xsetbv
	fninit
	XMM_KNOWN
	mov	$3, %eax
	xor	%edx, %edx
	STEP	3
	xsave64	CG_SCRATCH
	pxor	%xmm0, %xmm0
	STEP	4
	xrstor64 CG_SCRATCH
	XMM_CHECK
	PASS

cmpxchg16b_insn:
	STEP	1
	movq	$1, CG_SCRATCH
	movq	$2, CG_SCRATCH + 8
	mov	$1, %eax
	mov	$2, %edx
	mov	$3, %ebx
	mov	$4, %ecx
	lock cmpxchg16b CG_SCRATCH
	jne	wrong
	cmpq	$3, CG_SCRATCH
	jne	wrong
	cmpq	$4, CG_SCRATCH + 8
	jne	wrong
	PASS

smap:
	STEP	1
	stac
	STEP	2
	clac
	PASS

mmio_exit:
	STEP	1
	mov	$CG_MMIO, %edx
	movl	$CG_MMIO_WRITE, (%rdx)
	STEP	2
	mov	4(%rdx), %eax
	cmp	$CG_MMIO_READ, %eax
	jne	wrong
	PASS

event:
	STEP	1
	mov	$CG_IOEVENTFD, %edx
	movl	$7, (%rdx)
	PASS

readonly:
	STEP	1
	mov	$CG_RO_GPA, %edx
	cmpl	$CG_RO_MAGIC, (%rdx)
	jne	wrong
	STEP	2
	movl	$0, (%rdx)
	STEP	3
	cmpl	$CG_RO_MAGIC, (%rdx)
	jne	wrong
	PASS

	/* EDX = the LAPIC, switched on. */
	.macro LAPIC_ON
	mov	$CG_LAPIC, %edx
	movl	$(0x100 | CG_VEC_SPURIOUS), 0xf0(%rdx)
	.endm
	/* Sleeps until the first interrupt; none is missed, as STI waits for HLT to begin. */
	.macro SLEEP
11:	cmpq	$0, CG_SH_COUNT
	jne	12f
	sti
	hlt
	cli
	jmp	11b
12:
	.endm

msi:
	STEP	1
	LAPIC_ON
	out	%eax, $CG_PORT_MARK
	STEP	2
	SLEEP
	PASS

oneshot:
	STEP	1
	LAPIC_ON
	movl	$0xb, 0x3e0(%rdx)	/* divide by one */
	movl	$CG_VEC_TIMER, 0x320(%rdx)
	mov	CG_SH_PARAM, %rax
	mov	%eax, 0x380(%rdx)
	STEP	2
	SLEEP
	PASS

deadline:
	STEP	1
	LAPIC_ON
	movl	$(0x40000 | CG_VEC_TIMER), 0x320(%rdx)
	mfence
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	add	CG_SH_PARAM, %rax
	mov	%rax, %rdx
	shr	$32, %rdx
	mov	$0x6e0, %ecx		/* IA32_TSC_DEADLINE */
	wrmsr
	STEP	2
	SLEEP
	PASS

exit_user:
	STEP	1
	mov	CG_SH_PARAM, %rcx
1:	out	%eax, $CG_PORT_MARK
	dec	%rcx
	jnz	1b
	PASS

exit_kernel:
	STEP	1
	mov	CG_SH_PARAM, %rsi
1:	xor	%eax, %eax
	cpuid
	dec	%rsi
	jnz	1b
	PASS
check_guest_end:

	.section .note.GNU-stack, "", @progbits
