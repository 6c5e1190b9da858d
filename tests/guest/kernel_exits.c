/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an exit costs: a 32-bit PVH kernel that does each thing that ends in the host some hundred times,
 * and says on the serial port how many ticks of its time stamp counter one of them took, less the loop.
 * In a lab with --icount a tick is a nanosecond and an instruction; on hardware the host knows the rate.
 */
#include <stdint.h>

#include "vmm/memmap.h"

#define ROUNDS	  200u
#define FRESH	  0x2000000u /* memory that nobody has touched, from 32 MiB */
#define HUGE_LEN  0x200000u
#define FRESHES	  16u
#define NO_PORT	  0x2f0u /* nobody's */
#define APIC_BASE 0x1bu

__asm__(".section .note.xen, \"a\", @note\n"
	".balign 4\n"
	".long 4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
	".asciz \"Xen\"\n"
	".long entry\n"
	".text\n"
	".globl entry\n"
	"entry:\n"
	"movl $stack + 4096, %esp\n"
	"call kernel\n"
	"1: hlt\n"
	"jmp 1b\n");

uint8_t stack[4096];
void kernel(void);

static void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void say(const char *s)
{
	while (*s)
		outb(0x3f8, (uint8_t)*s++);
}

static void say_number(uint32_t v)
{
	char b[12];
	unsigned n = sizeof(b);

	b[--n] = 0;
	do
		b[--n] = (char)('0' + v % 10);
	while (v /= 10);
	say(b + n);
}

/* Its lower half: none of these loops takes seconds. */
static uint32_t ticks(void)
{
	uint32_t low;

	__asm__ volatile("rdtsc" : "=a"(low) : : "edx");
	return low;
}

static void nothing(uint32_t i)
{
	__asm__ volatile("" : : "r"(i));
}

static void do_cpuid(uint32_t i)
{
	uint32_t a = 0;

	(void)i;
	__asm__ volatile("cpuid" : "+a"(a) : : "ebx", "ecx", "edx");
}

static void do_rdmsr(uint32_t i)
{
	(void)i;
	__asm__ volatile("rdmsr" : : "c"(APIC_BASE) : "eax", "edx");
}

static void do_cr4(uint32_t i)
{
	uint32_t v;

	(void)i;
	__asm__ volatile("movl %%cr4, %0; movl %0, %%cr4" : "=r"(v));
}

static void do_apic(uint32_t i)
{
	(void)i;
	(void)*(volatile uint32_t *)((uint32_t)GPA_LAPIC + 0x30);
}

static void do_port(uint32_t i)
{
	outb(NO_PORT, (uint8_t)i);
}

static void do_ioapic(uint32_t i)
{
	(void)i;
	(void)*(volatile uint32_t *)(uint32_t)GPA_IOAPIC;
}

static void do_fresh(uint32_t i)
{
	*(volatile uint32_t *)(FRESH + i * HUGE_LEN) = i;
}

static uint32_t took(void (*what)(uint32_t), uint32_t rounds)
{
	uint32_t t0;

	what(0); /* what is done once is not what is measured; a first page goes with it */
	t0 = ticks();
	for (uint32_t i = 1; i <= rounds; i++)
		what(i);
	return (ticks() - t0) / rounds;
}

void kernel(void)
{
	static const struct {
		const char *name;
		void (*what)(uint32_t);
		uint32_t rounds;
	} kind[] = {
	    {"in KVM: CPUID", do_cpuid, ROUNDS},
	    {"in KVM: MSR", do_rdmsr, ROUNDS},
	    {"in KVM: CR4", do_cr4, ROUNDS},
	    {"in KVM: local APIC", do_apic, ROUNDS},
	    {"return of KVM_RUN: port", do_port, ROUNDS},
	    {"return of KVM_RUN: MMIO (IO-APIC)", do_ioapic, ROUNDS},
	    {"fault: 2 MiB of fresh memory", do_fresh, FRESHES},
	};
	uint32_t loop = took(nothing, ROUNDS);

	for (unsigned i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
		uint32_t t = took(kind[i].what, kind[i].rounds);

		say(kind[i].name);
		say(": ");
		say_number(t > loop ? t - loop : 0);
		say(" ticks\n");
	}
	outb(0x64, 0xfe);
}
