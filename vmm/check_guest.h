/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tiny guest of `vmm check` (check_guest.S) and its host side (check_vm.c) agree on: the
 * guest-physical map, the ports it answers on, the block of memory that both see, the stages.
 *
 * Included by assembly too: only macros outside of the __ASSEMBLER__ guard.
 */
#ifndef HUSK_VMM_CHECK_GUEST_H
#define HUSK_VMM_CHECK_GUEST_H

/* Guest-physical map of the one memory slot; everything is below 64 KiB but the stacks. */
#define CG_PML4	       0x1000
#define CG_PDPT	       0x2000
#define CG_PD_LOW      0x3000 /* 0 to 1 GiB: the first two 2 MiB pages are present */
#define CG_PD_HIGH     0x4000 /* 3 to 4 GiB: CG_MMIO's and the LAPIC's page are present */
#define CG_SHARED      0x5000 /* struct check_shared */
#define CG_BASE	       0x6000 /* the payload */
#define CG_SCRATCH     0x10000
#define CG_STACK_USER  0x1c000
#define CG_STACK       0x1e000
#define CG_STACK_TRAP  0x1f000 /* TSS.RSP0 */
#define CG_RAM_LEN     0x20000
#define CG_RO_GPA      0x200000	  /* a page in a read-only slot */
#define CG_NOT_PRESENT 0x40000000 /* no page there: reading it faults */
#define CG_MMIO	       0xd0000000 /* no slot there: an access leaves KVM_RUN */
#define CG_IOEVENTFD   0xd0001000
#define CG_LAPIC       0xfee00000

/* Ports. */
#define CG_PORT_DONE 0xe0 /* 32 bits: 0 = the stage has passed, else it saw something wrong */
#define CG_PORT_TRAP 0xe1 /* 32 bits: vector of an exception that nobody expected */
#define CG_PORT_MARK 0xe2 /* 32 bits: the stage asks the host for its part, then goes on */

/* Segments: the order that SYSRET wants (STAR[63:48] + 8 = SS, + 16 = CS). */
#define CG_SEL_CODE	0x08
#define CG_SEL_DATA	0x10
#define CG_SEL_UBASE	0x18
#define CG_SEL_UDATA	0x20
#define CG_SEL_UCODE	0x28
#define CG_SEL_TSS	0x30
#define CG_SEL_CODE32	0x40
#define CG_GDT_LEN	0x48

#define CG_VEC_TIMER	0x40
#define CG_VEC_MSI	0x41
#define CG_VEC_SPURIOUS 0x4f
#define CG_VEC_USER	0x80 /* int 0x80: how ring 3 comes back */
#define CG_IDT_LEN	((CG_VEC_USER + 1) * 16)

/* Fields of struct check_shared. */
#define CG_SH_STEP    (CG_SHARED + 0)  /* u32: where the stage is */
#define CG_SH_EXPECT  (CG_SHARED + 4)  /* u32: vector that the stage causes on purpose */
#define CG_SH_RESUME  (CG_SHARED + 8)  /* u64: where to go on after it; 0 = where it points */
#define CG_SH_COUNT   (CG_SHARED + 16) /* u64: how many came */
#define CG_SH_ERROR   (CG_SHARED + 24) /* u64: error code of the last one */
#define CG_SH_RIP     (CG_SHARED + 32) /* u64 */
#define CG_SH_CR2     (CG_SHARED + 40) /* u64 */
#define CG_SH_PARAM   (CG_SHARED + 48) /* u64: number that the host gives */

#define CG_RO_MAGIC   0x4b535548
#define CG_MMIO_WRITE 0x5a5aa5a5
#define CG_MMIO_READ  0x1234abcd

/* Indices of the entry table at the start of the payload. */
#define CG_LONG_MODE	  0
#define CG_SPEED	  1
#define CG_INVALID_OPCODE 2
#define CG_PAGE_FAULT	  3
#define CG_BREAKPOINT	  4
#define CG_RING3	  5
#define CG_SYSCALL	  6
#define CG_POPCNT	  7
#define CG_FPU		  8
#define CG_FXSAVE	  9
#define CG_XSAVE	  10
#define CG_CMPXCHG16B	  11
#define CG_SMAP		  12
#define CG_MMIO_EXIT	  13
#define CG_EVENT	  14
#define CG_READONLY	  15
#define CG_MSI		  16
#define CG_ONESHOT	  17
#define CG_DEADLINE	  18
#define CG_EXIT_USER	  19
#define CG_EXIT_KERNEL	  20
#define CG_GDT		  21 /* not a stage: where the GDT, the IDT and the TSS are */
#define CG_IDT		  22
#define CG_TSS		  23
#define CG_ENTRIES	  24

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

struct check_shared {
	uint32_t step;
	uint32_t expect;
	uint64_t resume;
	uint64_t count;
	uint64_t error;
	uint64_t rip;
	uint64_t cr2;
	uint64_t param;
};
_Static_assert(offsetof(struct check_shared, resume) == CG_SH_RESUME - CG_SHARED, "resume");
_Static_assert(offsetof(struct check_shared, count) == CG_SH_COUNT - CG_SHARED, "count");
_Static_assert(offsetof(struct check_shared, param) == CG_SH_PARAM - CG_SHARED, "param");

/* The payload, to be copied to CG_BASE; it starts with the entry table (offsets from its start). */
extern const uint8_t check_guest[], check_guest_end[];
#endif

#endif
