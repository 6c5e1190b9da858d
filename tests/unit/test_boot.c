/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_x86.c and memmap.h: low memory as a kernel finds it, and registers.
 */
#include <asm/bootparam.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/compiler.h"
#include "vmm/boot_x86.h"
#include "vmm/machine.h"
#include "vmm/memmap.h"

#define LOW (64u << 20)

static struct gmem mem;
static uint8_t *ram;
static struct err e;
static struct kernel_image img;
static struct boot_regs regs;
static char cmdline[GPA_CMDLINE_MAX + 8];

static void setup(void)
{
	ram = mmap(NULL, LOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(ram, MAP_FAILED);
	memset(&mem, 0, sizeof(mem));
	memset(&e, 0, sizeof(e));
	memset(&img, 0, sizeof(img));
	cr_assert_eq(gmem_add(&mem, 0, LOW, ram, false), 0);
	img.entry = 0x1000000;
	img.end = 0x2000000;
	img.cmdline_max = 2047;
}

static void teardown(void)
{
	(void)munmap(ram, LOW);
}

TestSuite(boot, .init = setup, .fini = teardown);

static int boot(const struct boot_params_in *in)
{
	memset(&e, 0, sizeof(e));
	return boot_setup(&mem, in, &regs, &e);
}

Test(boot, zero_page)
{
	struct boot_params_in in = {
	    .image = &img, .cmdline = "a b", .ram = LOW, .initrd = 0x3000000, .initrd_len = 77};
	struct boot_params *bp = (void *)(ram + GPA_ZERO_PAGE);

	cr_assert_eq(boot(&in), 0, "%s", e.msg);
	cr_assert_str_eq((char *)ram + GPA_CMDLINE, "a b");
	cr_assert_eq(bp->hdr.cmd_line_ptr, GPA_CMDLINE);
	cr_assert_eq(bp->hdr.header, 0x53726448u);
	cr_assert_eq(bp->hdr.type_of_loader, 0xff);
	cr_assert_eq(bp->hdr.ramdisk_image, 0x3000000u);
	cr_assert_eq(bp->hdr.ramdisk_size, 77u);
	cr_assert_eq(bp->hdr.setup_data, 0u);
	cr_assert_eq(bp->e820_entries, 3);
	cr_assert_eq(bp->e820_table[2].addr, 0x100000u);
	cr_assert_eq(bp->e820_table[2].size, LOW - 0x100000u);
	cr_assert_eq(bp->e820_table[2].type, 1u);
	cr_assert_eq(regs.rip, 0x1000000u);
}

Test(boot, memory_beyond_the_hole)
{
	struct boot_params_in in = {.image = &img, .cmdline = "", .ram = 5ull << 30};
	struct boot_params *bp = (void *)(ram + GPA_ZERO_PAGE);

	cr_assert_eq(boot(&in), 0);
	cr_assert_eq(bp->e820_entries, 4);
	cr_assert_eq(bp->e820_table[2].addr + bp->e820_table[2].size, GPA_RAM_LOW_END);
	cr_assert_eq(bp->e820_table[3].addr, 1ull << 32);
	cr_assert_eq(bp->e820_table[3].size, 2ull << 30);
}

Test(boot, setup_data_is_a_chain)
{
	uint8_t seed[BOOT_SEED_LEN] = {9, 8, 7};
	struct boot_params_in in = {.image = &img,
				    .cmdline = "",
				    .ram = LOW,
				    .fdt = "treetree",
				    .fdt_len = 8,
				    .seed = seed};
	struct boot_params *bp = (void *)(ram + GPA_ZERO_PAGE);
	struct setup_data *d;

	cr_assert_eq(boot(&in), 0);
	d = (void *)(ram + bp->hdr.setup_data);
	cr_assert_eq(d->type, SETUP_RNG_SEED);
	cr_assert_eq(d->len, BOOT_SEED_LEN);
	cr_assert_arr_eq(d->data, seed, sizeof(seed));
	cr_assert_eq(d->next % 8, 0u);
	d = (void *)(ram + d->next);
	cr_assert_eq(d->type, SETUP_DTB);
	cr_assert_eq(d->len, 8u);
	cr_assert_arr_eq(d->data, "treetree", 8);
	cr_assert_eq(d->next, 0u);
}

Test(boot, a_tree_that_does_not_fit)
{
	struct boot_params_in in = {.image = &img,
				    .cmdline = "",
				    .ram = LOW,
				    .fdt = ram + LOW / 2,
				    .fdt_len = GPA_SETUP_END - GPA_SETUP_DATA - 16};

	cr_assert_eq(boot(&in), 0, "just so");
	in.fdt_len++;
	cr_assert_eq(boot(&in), -E2BIG);
	in.fdt_len = SIZE_MAX;
	cr_assert_eq(boot(&in), -E2BIG);
}

Test(boot, command_line_limit_is_the_kernels)
{
	struct boot_params_in in = {.image = &img, .cmdline = cmdline, .ram = LOW};

	memset(cmdline, 'x', sizeof(cmdline) - 1);
	cmdline[sizeof(cmdline) - 1] = 0;
	cr_assert_eq(boot(&in), -E2BIG);
	cmdline[2047] = 0;
	cr_assert_eq(boot(&in), 0);
	memset(cmdline, 'x', sizeof(cmdline) - 1);
	cmdline[2048] = 0;
	cr_assert_eq(boot(&in), -E2BIG);
	/* A header may say more than there is room for. */
	img.cmdline_max = UINT32_MAX;
	cmdline[2048] = 'x';
	cmdline[GPA_CMDLINE_MAX] = 0;
	cr_assert_eq(boot(&in), -E2BIG);
	cmdline[GPA_CMDLINE_MAX - 1] = 0;
	cr_assert_eq(boot(&in), 0);
}

Test(boot, a_bzimages_header_is_kept)
{
	struct boot_params_in in = {.image = &img, .cmdline = "c", .ram = LOW};
	struct boot_params *bp = (void *)(ram + GPA_ZERO_PAGE);

	memset(img.hdr, 0x11, sizeof(img.hdr));
	img.hdr_len = sizeof(img.hdr); /* longer than the structure: cut */
	cr_assert_eq(boot(&in), 0);
	cr_assert_eq(bp->hdr.kernel_alignment, 0x11111111u);
	cr_assert_eq(bp->hdr.setup_data, 0u, "not what the file says");
	cr_assert_eq(bp->hdr.cmd_line_ptr, GPA_CMDLINE);
	cr_assert_eq(bp->sentinel, 0);
}

Test(boot, pvh_start_info)
{
	struct boot_params_in in = {
	    .image = &img, .cmdline = "p", .ram = LOW, .initrd = 0x3000000, .initrd_len = 5};
	uint32_t *si = (void *)(ram + GPA_START_INFO);
	uint64_t *mod = (void *)(ram + GPA_PVH_MODS);
	struct kvm_sregs s = {0};
	struct kvm_regs r;

	img.proto = BOOT_PVH;
	cr_assert_eq(boot(&in), 0);
	cr_assert_eq(si[0], 0x336ec578u);
	cr_assert_eq(si[1], 1u);
	cr_assert_eq(si[3], 1u);
	cr_assert_eq(*(uint64_t *)(void *)&si[4], GPA_PVH_MODS);
	cr_assert_eq(mod[0], 0x3000000u);
	cr_assert_eq(mod[1], 5u);
	boot_sregs(&regs, &s);
	boot_gpregs(&regs, &r);
	cr_assert_eq(r.rbx, GPA_START_INFO);
	cr_assert_eq(s.cr0 & 0x80000001u, 1u, "protected mode, no paging");
	cr_assert_eq(s.cs.db, 1);
	cr_assert_eq(s.efer, 0u);
}

/* The marker's code, and behind it a jump to where the kernel would have been entered. */
Test(boot, entry_marker)
{
	static const uint8_t out[] = {0xb0, 0x40, 0xe6, 0x80};
	struct boot_params_in in = {.image = &img, .cmdline = "", .ram = LOW, .mark_entry = true};
	uint64_t to = 0;

	cr_assert_eq(boot(&in), 0, "%s", e.msg);
	cr_assert_eq(regs.rip, GPA_ENTRY_MARK);
	cr_assert_eq(memcmp(ram + GPA_ENTRY_MARK, out, 4), 0);
	memcpy(&to, ram + GPA_ENTRY_MARK + 6, 8);
	cr_assert(to == 0x1000000 && ram[GPA_ENTRY_MARK + 4] == 0x48);
	img.proto = BOOT_PVH;
	cr_assert_eq(boot(&in), 0, "%s", e.msg);
	to = 0;
	memcpy(&to, ram + GPA_ENTRY_MARK + 5, 4);
	cr_assert(to == 0x1000000 && ram[GPA_ENTRY_MARK + 4] == 0xb8);
	in.mark_entry = false;
	cr_assert_eq(boot(&in), 0, "%s", e.msg);
	cr_assert_eq(regs.rip, 0x1000000u);
}

Test(boot, long_mode_registers_and_tables)
{
	struct boot_params_in in = {.image = &img, .cmdline = "", .ram = LOW};
	struct kvm_sregs s = {.apic_base = 0xfee00900};
	uint64_t *t = (void *)(ram + GPA_PML4);
	struct kvm_regs r;

	cr_assert_eq(boot(&in), 0);
	boot_sregs(&regs, &s);
	boot_gpregs(&regs, &r);
	cr_assert_eq(s.cr3, GPA_PML4);
	cr_assert_eq(s.efer, 0x500u);
	cr_assert_eq(s.cs.l, 1);
	cr_assert_eq(s.apic_base, 0xfee00900u, "KVM's own");
	cr_assert_eq(r.rsi, GPA_ZERO_PAGE);
	cr_assert_eq(r.rflags, 2u);
	cr_assert_eq(t[0], GPA_PML4 + 0x1003);
	cr_assert_eq(t[1], 0u);
	cr_assert_eq(t[512 + 3], GPA_PML4 + 0x5003);
	cr_assert_eq(t[512 + 4], 0u);
	cr_assert_eq(t[1024 + 4 * 512 - 1], 0xffe00083u, "the last 2 MiB below 4 GiB");
}

Test(boot, initrd_goes_to_the_top)
{
	uint64_t at;

	cr_assert_eq(boot_place_initrd(&img, LOW, 100, &at, &e), 0);
	cr_assert_eq(at, LOW - 4096);
	cr_assert_eq(boot_place_initrd(&img, 8ull << 30, 100, &at, &e), 0);
	cr_assert_eq(at, 0x80000000u - 4096);
	cr_assert_eq(boot_place_initrd(&img, LOW, LOW - img.end, &at, &e), 0);
	cr_assert_eq(at, img.end);
	cr_assert_eq(boot_place_initrd(&img, LOW, LOW - img.end + 1, &at, &e), -ENOMEM);
	cr_assert_eq(boot_place_initrd(&img, LOW, UINT64_MAX, &at, &e), -ENOMEM);
}

Test(boot, no_memory_at_all)
{
	struct boot_params_in in = {.image = &img, .cmdline = "", .ram = LOW};
	struct gmem none = {.cnt = 0};

	cr_assert_eq(boot_setup(&none, &in, &regs, &e), -ENOMEM);
	cr_assert(e.msg[0]);
}

Test(memmap, nothing_overlaps)
{
	static const uint64_t r[][2] = {
	    {GPA_RAM_LOW, GPA_RAM_LOW_END},
	    {GPA_BOOT_MARK, GPA_BOOT_MARK + GPA_BOOT_MARK_LEN},
	    {GPA_SLOTS, GPA_SLOTS + MACHINE_SLOTS_MAX * MMIO_SLOT_STRIDE},
	    {SYS_PAGE_GPA, SYS_PAGE_GPA + GPA_PAGE},
	    {PANIC_PAGE_GPA, PANIC_PAGE_GPA + GPA_PAGE},
	    {SERIAL_GPA, SERIAL_GPA + GPA_PAGE},
	    {GPA_PCI_ECAM, GPA_PCI_ECAM + GPA_PCI_ECAM_LEN},
	    {GPA_PCI_BAR32, GPA_PCI_BAR32_END},
	    {GPA_IOAPIC, GPA_IOAPIC + GPA_IOAPIC_LEN},
	    {GPA_LAPIC, GPA_LAPIC + GPA_LAPIC_LEN},
	    {GPA_KVM_TSS - GPA_PAGE, GPA_KVM_TSS + 3 * GPA_PAGE},
	    {GPA_RAM_HIGH, GPA_RAM_HIGH_END},
	    {GPA_PMEM, GPA_PMEM_END},
	    {GPA_VIRTIO_MEM, GPA_VIRTIO_MEM_END},
	    {GPA_PCI_BAR64, GPA_PCI_BAR64_END},
	};

	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		cr_assert_lt(r[i][0], r[i][1]);
		if (i)
			cr_assert_leq(r[i - 1][1], r[i][0], "entry %zu", i);
	}
	cr_assert_leq(GPA_PCI_BAR64_END, GPA_END);
	cr_assert_eq(GPA_PMEM % PMEM_ALIGN, 0u);
}

Test(memmap, low_and_high_parts_are_all_of_it)
{
	cr_assert_eq(memmap_low_len(1 << 20), 1u << 20);
	cr_assert_eq(memmap_high_len(1 << 20), 0u);
	cr_assert_eq(memmap_high_len(GPA_RAM_LOW_END), 0u);
	cr_assert_eq(memmap_high_len(GPA_RAM_LOW_END + 4096), 4096u);
	cr_assert_eq(GPA_RAM_HIGH + memmap_high_len(MEMMAP_RAM_MAX), GPA_RAM_HIGH_END);
}
