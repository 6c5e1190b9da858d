/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fdt.c and mptable.c: what they say is what the machine is, read back with libfdt and by hand.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/abi.h"
#include "vmm/hw.h"
#include "vmm/ioapic.h"
#include "vmm/memmap.h"

static struct hw_desc full(void)
{
	struct hw_desc hw = {.cpus = MACHINE_CPUS_MAX,
			     .serial = true,
			     .pins = IOAPIC_PINS,
			     .slot_cnt = MACHINE_SLOTS_MAX,
			     .pmem_cnt = BOOT_PMEM_MAX};

	for (unsigned i = 0; i < hw.slot_cnt; i++) {
		hw.slot[i].gpa = GPA_SLOTS + i * MMIO_SLOT_STRIDE;
		hw.slot[i].pin = hw_slot_pin(i);
	}
	for (unsigned i = 0; i < hw.pmem_cnt; i++) {
		hw.pmem[i].gpa = GPA_PMEM + i * PMEM_ALIGN;
		hw.pmem[i].len = PMEM_ALIGN;
	}
	return hw;
}

static uint32_t cell(const void *fdt, int node, const char *name, unsigned n)
{
	int len;
	const fdt32_t *p = fdt_getprop(fdt, node, name, &len);

	cr_assert_not_null(p, "%s", name);
	cr_assert_geq(len, (int)(4 * (n + 1)));
	return fdt32_to_cpu(p[n]);
}

Test(slot_pin, each_has_its_own)
{
	uint32_t seen = 0;

	for (unsigned i = 0; i < MACHINE_SLOTS_MAX; i++) {
		unsigned pin = hw_slot_pin(i);

		cr_assert_lt(pin, IOAPIC_PINS);
		cr_assert_neq(pin, 0u);
		cr_assert_neq(pin, IRQ_SERIAL);
		cr_assert_not(seen & 1u << pin);
		seen |= 1u << pin;
	}
}

Test(fdt, says_what_the_machine_is)
{
	struct hw_desc hw = full();
	void *fdt = malloc(HW_FDT_MAX);
	int len = hw_fdt(&hw, fdt, HW_FDT_MAX), node, n;

	cr_assert_gt(len, 0);
	cr_assert_eq(fdt_check_full(fdt, (size_t)len), 0);
	node = fdt_path_offset(fdt, "/cpus");
	cr_assert_geq(node, 0);
	n = 0;
	for (int c = fdt_first_subnode(fdt, node); c >= 0; c = fdt_next_subnode(fdt, c))
		cr_assert_eq(cell(fdt, c, "reg", 0), (uint32_t)n++);
	cr_assert_eq(n, (int)MACHINE_CPUS_MAX);

	node = fdt_node_offset_by_compatible(fdt, -1, "intel,ce4100-ioapic");
	cr_assert_geq(node, 0);
	cr_assert_eq(cell(fdt, node, "#interrupt-cells", 0), 2u);
	cr_assert_eq(cell(fdt, 0, "interrupt-parent", 0), fdt_get_phandle(fdt, node));

	n = 0;
	for (node = fdt_node_offset_by_compatible(fdt, -1, "virtio,mmio"); node >= 0;
	     node = fdt_node_offset_by_compatible(fdt, node, "virtio,mmio")) {
		cr_assert_eq(cell(fdt, node, "reg", 1), GPA_SLOTS + (unsigned)n * MMIO_SLOT_STRIDE);
		cr_assert_eq(cell(fdt, node, "interrupts", 0), hw_slot_pin((unsigned)n));
		cr_assert_eq(cell(fdt, node, "interrupts", 1), 3u);
		n++;
	}
	cr_assert_eq(n, (int)MACHINE_SLOTS_MAX);

	node = fdt_node_offset_by_compatible(fdt, -1, "pmem-region");
	cr_assert_eq(cell(fdt, node, "reg", 0), (uint32_t)(GPA_PMEM >> 32));
	cr_assert_eq(cell(fdt, node, "reg", 3), PMEM_ALIGN);
	node = fdt_node_offset_by_compatible(fdt, -1, "syscon-poweroff");
	n = fdt_node_offset_by_phandle(fdt, cell(fdt, node, "regmap", 0));
	cr_assert_eq(cell(fdt, n, "reg", 1), SYS_PAGE_GPA);
	cr_assert_geq(fdt_node_offset_by_compatible(fdt, -1, "ns16550a"), 0);
	free(fdt);
}

Test(fdt, no_serial_port_unless_asked_for)
{
	struct hw_desc hw = {.cpus = 1, .pins = 5};
	void *fdt = malloc(HW_FDT_MAX);

	cr_assert_gt(hw_fdt(&hw, fdt, HW_FDT_MAX), 0);
	cr_assert_lt(fdt_node_offset_by_compatible(fdt, -1, "ns16550a"), 0);
	cr_assert_lt(fdt_node_offset_by_compatible(fdt, -1, "virtio,mmio"), 0);
	free(fdt);
}

Test(fdt, any_buffer_that_is_too_small_is_an_error)
{
	struct hw_desc hw = full();
	void *fdt = malloc(HW_FDT_MAX);
	int len = hw_fdt(&hw, fdt, HW_FDT_MAX);

	free(fdt);
	for (int cap = 0; cap < len; cap += 37) {
		void *small = malloc((size_t)cap + 1); /* the sanitizer guards its end */

		cr_assert_lt(hw_fdt(&hw, small, (size_t)cap), 0, "%d of %d bytes", cap, len);
		free(small);
	}
}

static unsigned sum(const uint8_t *p, size_t len)
{
	unsigned s = 0;

	while (len--)
		s += *p++;
	return s & 0xff;
}

Test(mptable, says_what_the_machine_is)
{
	struct hw_desc hw = full();
	uint8_t b[HW_MPTABLE_MAX];
	int len = hw_mptable(&hw, GPA_MPTABLE, b, sizeof(b));
	unsigned cpus = 0, irqs = 0, entries = 0;
	uint16_t table_len, cnt;
	uint32_t at;

	cr_assert_gt(len, 0);
	cr_assert_arr_eq(b, "_MP_", 4);
	cr_assert_eq(sum(b, 16), 0u);
	memcpy(&at, b + 4, 4);
	cr_assert_eq(at, GPA_MPTABLE + 16);
	cr_assert_arr_eq(b + 16, "PCMP", 4);
	memcpy(&table_len, b + 20, 2);
	cr_assert_eq(table_len + 16, len);
	cr_assert_eq(sum(b + 16, table_len), 0u);
	for (int i = 16 + 44; i < len; i += b[i] ? 8 : 20) {
		entries++;
		if (b[i] == 0) {
			cr_assert_eq(b[i + 1], cpus);
			cr_assert_eq(b[i + 3], cpus ? 1 : 3);
			cpus++;
		} else if (b[i] == 3) {
			cr_assert_eq(b[i + 5], irqs);
			cr_assert_eq(b[i + 7], irqs);
			irqs++;
		}
	}
	memcpy(&cnt, b + 16 + 34, 2);
	cr_assert_eq(cnt, entries);
	cr_assert_eq(cpus, MACHINE_CPUS_MAX);
	cr_assert_eq(irqs, IOAPIC_PINS);
	cr_assert_leq((uint64_t)len, GPA_MPTABLE_END - GPA_MPTABLE);
}

Test(mptable, too_small_a_buffer)
{
	struct hw_desc hw = full();
	uint8_t b[HW_MPTABLE_MAX];
	int len = hw_mptable(&hw, GPA_MPTABLE, b, sizeof(b));

	for (int cap = 0; cap < len; cap++) {
		uint8_t *small = malloc((size_t)cap + 1);

		cr_assert_eq(hw_mptable(&hw, GPA_MPTABLE, small, (size_t)cap), -ENOSPC);
		free(small);
	}
	hw.cpus = MACHINE_CPUS_MAX + 1;
	cr_assert_eq(hw_mptable(&hw, GPA_MPTABLE, b, sizeof(b)), -ENOSPC);
}

/* Well-formed, or Linux says that the machine is broken; and without CPUs, which would add up with
 * those of the tree. */
Test(mptable, one_that_says_nothing)
{
	uint8_t b[HW_MPTABLE_MAX];
	int len = hw_mptable_none(GPA_NO_MPTABLE, b, sizeof(b));
	uint16_t table_len;
	uint32_t at;

	cr_assert_eq(len, 16 + 44 + 8);
	cr_assert_arr_eq(b, "_MP_", 4);
	cr_assert_eq(sum(b, 16), 0u);
	memcpy(&at, b + 4, 4);
	cr_assert_eq(at, GPA_NO_MPTABLE + 16);
	cr_assert_eq(GPA_NO_MPTABLE % 16, 0u);
	cr_assert_leq(GPA_NO_MPTABLE + (uint64_t)len, GPA_GDT);
	cr_assert_arr_eq(b + 16, "PCMP", 4);
	memcpy(&table_len, b + 20, 2);
	cr_assert_eq(table_len, 44 + 8);
	cr_assert_eq(sum(b + 16, table_len), 0u);
	cr_assert_eq(b[60], 3, "an interrupt");
	cr_assert_eq(b[66], 0xfe, "of an IO-APIC that there is not");
	for (int cap = 0; cap < len; cap++)
		cr_assert_eq(hw_mptable_none(GPA_NO_MPTABLE, b, (size_t)cap), -ENOSPC);
}

Test(mptable, words_for_the_command_line)
{
	struct hw_desc hw = full();
	char b[2048];
	int len;

	hw.slot_cnt = 2;
	len = hw_mptable_cmdline(&hw, b, sizeof(b));
	cr_assert_str_eq(
	    b, " virtio_mmio.device=512@0xd0000000:1 virtio_mmio.device=512@0xd0001000:2");
	cr_assert_eq((size_t)len, strlen(b));
	cr_assert_eq(hw_mptable_cmdline(&hw, b, (size_t)len), -ENOSPC);
	cr_assert_eq(hw_mptable_cmdline(&hw, b, (size_t)len + 1), len);
	hw.slot_cnt = 0;
	cr_assert_eq(hw_mptable_cmdline(&hw, b, sizeof(b)), 0);
	cr_assert_str_eq(b, "");
	cr_assert_eq(hw_mptable_cmdline(&hw, NULL, 0), 0);
}
