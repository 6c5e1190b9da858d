/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload of `vmm check` as bytes (entry table, GDT, IDT, TSS, exception stubs), and the
 * watchdog, which needs some KVM, however broken: without one those tests are skipped.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include "base/clock.h"
#include "vmm/check_vm.h"

static uint32_t offset_of(unsigned entry)
{
	uint32_t v;

	memcpy(&v, check_guest + entry * 4, sizeof(v));
	return v;
}

static uint64_t load64(uint32_t off)
{
	uint64_t v;

	memcpy(&v, check_guest + off, sizeof(v));
	return v;
}

Test(check_payload, fits)
{
	size_t len = (size_t)(check_guest_end - check_guest);

	cr_assert(len > 1024);
	cr_assert(CG_BASE + len <= CG_SCRATCH, "%zu bytes reach into the scratch area", len);
	cr_assert(CG_SCRATCH + 4096 <= CG_STACK_USER - 4096);
}

Test(check_payload, entries_are_inside_and_differ)
{
	for (unsigned i = 0; i < CG_ENTRIES; i++) {
		cr_assert(offset_of(i) >= CG_ENTRIES * 4);
		cr_assert(offset_of(i) < (size_t)(check_guest_end - check_guest));
		for (unsigned j = 0; j < i; j++)
			cr_assert_neq(offset_of(i), offset_of(j), "entries %u and %u", i, j);
	}
}

/* Every stage begins with `movl $1, CG_SH_STEP`, so that its place is known from the start. */
Test(check_payload, every_stage_says_where_it_is)
{
	static const uint8_t step64[] = {0xc7, 0x04, 0x25, 0, 0x50, 0, 0, 1, 0, 0, 0};
	static const uint8_t step32[] = {0xc7, 0x05, 0, 0x50, 0, 0, 1, 0, 0, 0};

	cr_assert_eq(CG_SH_STEP, 0x5000);
	cr_assert_arr_eq(check_guest + offset_of(CG_LONG_MODE), step32, sizeof(step32));
	for (unsigned i = CG_SPEED; i <= CG_EXIT_KERNEL; i++)
		cr_assert_arr_eq(check_guest + offset_of(i), step64, sizeof(step64), "entry %u", i);
}

Test(check_payload, gdt)
{
	uint32_t gdt = offset_of(CG_GDT);
	uint64_t tss = load64(gdt + CG_SEL_TSS);

	cr_assert_eq(load64(gdt), 0);
	for (uint32_t sel = CG_SEL_CODE; sel <= CG_SEL_UCODE; sel += 8) {
		uint64_t d = load64(gdt + sel);
		bool user = sel >= CG_SEL_UBASE;

		cr_assert(d >> 47 & 1, "0x%x is present", sel);
		cr_assert_eq(d >> 45 & 3, user ? 3 : 0, "level of 0x%x", sel);
		cr_assert_eq(d >> 53 & 1, sel == CG_SEL_CODE || sel == CG_SEL_UCODE, "L of 0x%x",
			     sel);
	}
	cr_assert_eq((tss >> 16 & 0xffff), CG_BASE + offset_of(CG_TSS));
	cr_assert_eq(tss >> 40 & 0xff, 0x89);
	cr_assert_eq(tss & 0xffff, 0x67);
	cr_assert_eq(load64(offset_of(CG_TSS) + 4), CG_STACK_TRAP);
	/* What SYSRET computes from STAR. */
	cr_assert_eq(CG_SEL_UBASE + 8, CG_SEL_UDATA);
	cr_assert_eq(CG_SEL_UBASE + 16, CG_SEL_UCODE);
	cr_assert_eq(CG_SEL_CODE + 8, CG_SEL_DATA);
}

Test(check_payload, idt_leads_to_stubs)
{
	static const bool with_code[32] = {[8] = 1,  [10] = 1, [11] = 1, [12] = 1, [13] = 1,
					   [14] = 1, [17] = 1, [21] = 1, [29] = 1, [30] = 1};
	uint32_t idt = offset_of(CG_IDT);

	for (unsigned v = 0; v <= CG_VEC_USER; v++) {
		uint64_t g = load64(idt + v * 16);
		const uint8_t *p = check_guest + (g & 0xffff) - CG_BASE;
		bool used = v < 32 || v == CG_VEC_TIMER || v == CG_VEC_MSI ||
			    v == CG_VEC_SPURIOUS || v == CG_VEC_USER;

		cr_assert_eq(load64(idt + v * 16 + 8), 0);
		cr_assert_eq(g >> 40 & 0xff,
			     !used		? 0
			     : v == CG_VEC_USER ? 0xee
						: 0x8e,
			     "gate %u", v);
		if (!used)
			continue;
		cr_assert_eq(g >> 16 & 0xffff, CG_SEL_CODE);
		cr_assert(p > check_guest && p < check_guest_end);
		if (v >= 32)
			continue;
		if (!with_code[v]) {
			cr_assert_eq(p[0], 0x6a, "vector %u has no error code", v);
			cr_assert_eq(p[1], 0);
			p += 2;
		}
		cr_assert_eq(p[0], 0x6a, "vector %u", v);
		cr_assert_eq(p[1], v);
	}
}

/* ---- the watchdog ------------------------------------------------------------------------------
 */
static struct check_vm vm;

static void vm_open(void)
{
	struct err e = {0};

	if (check_vm_open(&vm, CHECK_KVM_DEV, -1, false, &e)) {
		check_vm_close(&vm);
		cr_skip_test("%s", e.msg);
	}
}

static void hangs(unsigned entry, uint64_t ms, const char *reason)
{
	struct check_end end;
	uint64_t t0 = clock_ns();

	check_vm_run(&vm, entry, 1ull << 60, 60, NULL, &end);
	cr_assert_not(end.ok);
	cr_assert(end.timed_out);
	/* Beside busy neighbours five times as long may be over first. */
	cr_assert(strcmp(end.reason, reason) == 0 || strcmp(end.reason, "no answer in 300 ms") == 0,
		  "%s", end.reason);
	cr_assert(end.cpu_ns >= 60 * NS_PER_MS || end.ns >= 300 * NS_PER_MS);
	cr_assert(clock_ns() - t0 >= ms * NS_PER_MS);
	cr_assert(clock_ns() - t0 < 5 * NS_PER_SEC);
	cr_assert(check_vm_step(&vm) >= 1);
}

Test(check_watchdog, endless_guest_ends_and_the_next_one_runs, .timeout = 60)
{
	struct sigaction sa;
	struct check_end end;

	vm_open();
	hangs(CG_SPEED, 60, "no answer in 60 ms of CPU time");
	hangs(CG_EXIT_USER, 60, "no answer in 60 ms of CPU time");
	hangs(CG_EXIT_KERNEL, 60, "no answer in 60 ms of CPU time");
	if (vm.irqchip) /* it sleeps */
		hangs(CG_MSI, 300, "no answer in 300 ms");
	check_vm_run(&vm, CG_SPEED, 100, 10000, NULL, &end);
	cr_assert(end.ok, "%s", end.reason);
	cr_assert_not(end.timed_out);
	check_vm_close(&vm);
	cr_assert_eq(sigaction(CHECK_SIGNAL, NULL, &sa), 0);
	cr_assert(sa.sa_handler == SIG_DFL, "the handler stays");
}

/* A guest that sleeps for ever: no interrupt comes to the MSI stage when the host does not send it.
 */
Test(check_watchdog, sleeping_guest_ends, .timeout = 60)
{
	struct check_end end;

	vm_open();
	if (vm.irqchip) {
		check_vm_run(&vm, CG_MSI, 0, 60, NULL, &end);
		cr_assert(end.timed_out, "%s", end.reason);
		cr_assert_eq(check_vm_step(&vm), 2);
	}
	check_vm_close(&vm);
}

static int fail_mark(struct check_vm *v)
{
	(void)v;
	return -ENOSPC;
}

Test(check_watchdog, host_part_fails, .timeout = 60)
{
	struct check_end end;

	vm_open();
	check_vm_run(&vm, CG_EXIT_USER, 5, 10000, fail_mark, &end);
	cr_assert_not(end.ok);
	cr_assert_not(end.timed_out);
	cr_assert_str_eq(end.reason, "the host's part failed: No space left on device");
	check_vm_close(&vm);
}

Test(check_cost, sorted)
{
	uint64_t v[] = {5, 1, 9, 3, 7};
	struct check_cost c = check_cost_of(v, 5);

	cr_assert_eq(c.min, 1);
	cr_assert_eq(c.median, 5);
	cr_assert_eq(c.max, 9);
	cr_assert_eq(c.n, 5);
	cr_assert_eq(check_cost_of(v, 0).n, 0);
}
