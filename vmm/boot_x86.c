/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Low memory and registers at the start. See boot_x86.h, and memmap.h for the places.
 */
#include "vmm/boot_x86.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "vmm/abi.h"
#include "vmm/memmap.h"

#define E820_RAM      1u
#define E820_RESERVED 2u

/* ---- memory map --------------------------------------------------------------------------------
 */
struct map_entry {
	uint64_t gpa, len;
	uint32_t type;
};
#define MAP_MAX 4

static unsigned memory_map(const struct boot_params_in *in, struct map_entry map[MAP_MAX])
{
	uint64_t low = memmap_low_len(in->ram), high = memmap_high_len(in->ram);
	unsigned n = 0;

	map[n++] = (struct map_entry){0, GPA_LOW_END, E820_RAM};
	map[n++] = (struct map_entry){GPA_LOW_END, GPA_KERNEL_MIN - GPA_LOW_END, E820_RESERVED};
	map[n++] = (struct map_entry){GPA_KERNEL_MIN, low - GPA_KERNEL_MIN, E820_RAM};
	if (high)
		map[n++] = (struct map_entry){GPA_RAM_HIGH, high, E820_RAM};
	return n;
}

static int put(const struct gmem *mem, uint64_t gpa, const void *p, size_t len, struct err *e)
{
	if (gmem_write(mem, gpa, p, len) < 0)
		return err_set(e, -ENOMEM, "the guest's memory is too small to boot in");
	return 0;
}

static int put_cmdline(const struct gmem *mem, const struct boot_params_in *in, struct err *e)
{
	size_t len = strlen(in->cmdline), max = in->image->cmdline_max;

	if (max > GPA_CMDLINE_MAX - 1)
		max = GPA_CMDLINE_MAX - 1;
	if (len > max)
		return err_set(e, -E2BIG,
			       "the kernel command line has %zu bytes; this kernel takes %zu", len,
			       max);
	return put(mem, GPA_CMDLINE, in->cmdline, len + 1, e);
}

int boot_place_initrd(const struct kernel_image *image, uint64_t ram, uint64_t len,
		      uint64_t *ret_gpa, struct err *e)
{
	uint64_t top = memmap_low_len(ram), floor = ALIGN_UP(image->end, (uint64_t)0x1000), gpa;

	if (top > 0x80000000ull) /* initrd_addr_max of x86 kernels */
		top = 0x80000000ull;
	if (len > top)
		return err_set(e, -ENOMEM,
			       "an initrd of %llu bytes does not fit into the guest's memory",
			       (unsigned long long)len);
	gpa = ALIGN_DOWN(top - len, (uint64_t)0x1000);
	if (gpa < floor)
		return err_set(e, -ENOMEM,
			       "an initrd of %llu bytes does not fit into the guest's memory "
			       "behind the kernel",
			       (unsigned long long)len);
	*ret_gpa = gpa;
	return 0;
}

/* ---- Linux, 64-bit entry -----------------------------------------------------------------------
 */

/* Appends one setup_data to the chain at *@at; *@link is where its predecessor points from. */
static int put_setup_data(const struct gmem *mem, uint64_t *at, uint64_t *link, uint32_t type,
			  const void *data, size_t len, struct err *e)
{
	struct setup_data head = {.next = 0, .type = type, .len = (uint32_t)len};
	le64_t here = le64_of(*at);
	int rc;

	if (len > GPA_SETUP_END - *at - sizeof(head))
		return err_set(e, -E2BIG, "the hardware description has %zu bytes: too much", len);
	rc = put(mem, *at, &head, sizeof(head), e);
	if (rc == 0)
		rc = put(mem, *at + sizeof(head), data, len, e);
	if (rc == 0)
		rc = put(mem, *link, &here, sizeof(here), e);
	*link = *at;
	*at = ALIGN_UP(*at + sizeof(head) + len, (uint64_t)16);
	return rc;
}

static int put_setup_chain(const struct gmem *mem, const struct boot_params_in *in, struct err *e)
{
	uint64_t at = GPA_SETUP_DATA;
	uint64_t link = GPA_ZERO_PAGE + offsetof(struct boot_params, hdr) +
			offsetof(struct setup_header, setup_data);
	int rc = 0;

	if (in->seed)
		rc = put_setup_data(mem, &at, &link, SETUP_RNG_SEED, in->seed, BOOT_SEED_LEN, e);
	if (rc == 0 && in->fdt)
		rc = put_setup_data(mem, &at, &link, SETUP_DTB, in->fdt, in->fdt_len, e);
	return rc;
}

static int put_zero_page(const struct gmem *mem, const struct boot_params_in *in, struct err *e)
{
	struct map_entry map[MAP_MAX];
	struct boot_params bp;
	int rc;

	_Static_assert(sizeof(bp) == 4096, "zero page");
	_Static_assert(offsetof(struct boot_params, hdr) == 0x1f1, "setup header");
	memset(&bp, 0, sizeof(bp));
	if (in->image->hdr_len)
		memcpy((uint8_t *)&bp + 0x1f1, in->image->hdr,
		       MIN(in->image->hdr_len, sizeof(bp.hdr)));
	else {
		bp.hdr.boot_flag = 0xaa55;
		bp.hdr.header = 0x53726448; /* "HdrS" */
		bp.hdr.version = 0x020c;
		bp.hdr.kernel_alignment = 0x1000000;
	}
	bp.hdr.type_of_loader = 0xff; /* no number assigned */
	bp.hdr.loadflags |= LOADED_HIGH;
	bp.hdr.cmd_line_ptr = GPA_CMDLINE;
	bp.hdr.cmdline_size = (uint32_t)strlen(in->cmdline);
	bp.hdr.ramdisk_image = (uint32_t)in->initrd;
	bp.hdr.ramdisk_size = (uint32_t)in->initrd_len;
	bp.hdr.setup_data = 0;
	bp.e820_entries = (uint8_t)memory_map(in, map);
	for (unsigned i = 0; i < bp.e820_entries; i++)
		bp.e820_table[i] = (struct boot_e820_entry){map[i].gpa, map[i].len, map[i].type};
	rc = put(mem, GPA_ZERO_PAGE, &bp, sizeof(bp), e);
	return rc ? rc : put_setup_chain(mem, in, e);
}

/* The first 4 GiB mapped to themselves with 2 MiB pages: all that Linux needs until it has its own.
 */
static int put_page_tables(const struct gmem *mem, struct err *e)
{
	uint64_t table[512] = {GPA_PML4 + 0x1000 + 0x3}; /* present, writable */
	int rc = put(mem, GPA_PML4, table, sizeof(table), e);

	for (unsigned i = 0; i < 512; i++)
		table[i] = i < 4 ? GPA_PML4 + 0x2000 + i * 0x1000ull + 0x3 : 0;
	if (rc == 0)
		rc = put(mem, GPA_PML4 + 0x1000, table, sizeof(table), e);
	for (unsigned dir = 0; rc == 0 && dir < 4; dir++) {
		for (unsigned i = 0; i < 512; i++)
			table[i] = ((dir * 512ull + i) << 21) | 0x83; /* and a large page */
		rc = put(mem, GPA_PML4 + 0x2000 + dir * 0x1000ull, table, sizeof(table), e);
	}
	return rc;
}

/* Selectors 0x10 and 0x18: __BOOT_CS and __BOOT_DS. */
static const uint64_t gdt[] = {0, 0, 0x00af9b000000ffffull, 0x00cf93000000ffffull};

/* ---- PVH ---------------------------------------------------------------------------------------
 */
#define PVH_MAGIC 0x336ec578u

struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};
struct pvh_module {
	uint64_t paddr, size, cmdline_paddr, reserved;
};
struct pvh_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "start info");
_Static_assert(sizeof(struct pvh_module) == 32, "module");
_Static_assert(sizeof(struct pvh_memmap) == 24, "memory map entry");
_Static_assert(GPA_PVH_MEMMAP + MAP_MAX * sizeof(struct pvh_memmap) <= GPA_PVH_MODS, "room");

static int put_start_info(const struct gmem *mem, const struct boot_params_in *in, struct err *e)
{
	struct map_entry map[MAP_MAX];
	unsigned n = memory_map(in, map);
	struct pvh_module mod = {.paddr = in->initrd, .size = in->initrd_len};
	struct pvh_start_info si = {.magic = PVH_MAGIC,
				    .version = 1,
				    .nr_modules = in->initrd_len ? 1 : 0,
				    .modlist_paddr = in->initrd_len ? GPA_PVH_MODS : 0,
				    .cmdline_paddr = GPA_CMDLINE,
				    .memmap_paddr = GPA_PVH_MEMMAP,
				    .memmap_entries = n};
	int rc = put(mem, GPA_START_INFO, &si, sizeof(si), e);

	for (unsigned i = 0; rc == 0 && i < n; i++) {
		struct pvh_memmap m = {map[i].gpa, map[i].len, map[i].type, 0};

		rc = put(mem, GPA_PVH_MEMMAP + i * sizeof(m), &m, sizeof(m), e);
	}
	return rc ? rc : put(mem, GPA_PVH_MODS, &mod, sizeof(mod), e);
}

/*
 * Puts a marker in front of the kernel's entry: its registers but RAX (EAX), which neither entry
 * reads, are as they are to be.
 */
static int put_entry_mark(const struct gmem *mem, struct boot_regs *regs, struct err *e)
{
	/* mov $0x40, %al; out %al, $0x80; movabs $entry, %rax or mov $entry, %eax; jmp *%rax */
	uint8_t code[] = {
	    0xb0, MARK_KERNEL_ENTRY, 0xe6, PORT_MARK, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff,
	    0xe0};
	uint8_t code32[] = {0xb0, MARK_KERNEL_ENTRY, 0xe6, PORT_MARK, 0xb8, 0, 0, 0, 0, 0xff, 0xe0};
	bool is64 = regs->proto == BOOT_LINUX64;
	le64_t entry = le64_of(regs->rip);

	memcpy(code + 6, &entry, 8);
	memcpy(code32 + 5, &entry, 4);
	regs->rip = GPA_ENTRY_MARK;
	return is64 ? put(mem, GPA_ENTRY_MARK, code, sizeof(code), e)
		    : put(mem, GPA_ENTRY_MARK, code32, sizeof(code32), e);
}

int boot_setup(const struct gmem *mem, const struct boot_params_in *in, struct boot_regs *ret,
	       struct err *e)
{
	int rc = put_cmdline(mem, in, e);

	*ret = (struct boot_regs){.proto = in->image->proto, .rip = in->image->entry};
	if (rc == 0 && in->mark_entry)
		rc = put_entry_mark(mem, ret, e);
	if (rc < 0)
		return rc;
	if (in->image->proto == BOOT_PVH)
		return put_start_info(mem, in, e);
	rc = put_zero_page(mem, in, e);
	if (rc == 0)
		rc = put_page_tables(mem, e);
	return rc ? rc : put(mem, GPA_GDT, gdt, sizeof(gdt), e);
}

/* ---- registers ---------------------------------------------------------------------------------
 */
#define CR0_PE	 (1ull << 0)
#define CR0_ET	 (1ull << 4)
#define CR0_PG	 (1ull << 31)
#define CR4_PAE	 (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

#define BOOT_CS	 0x10u
#define BOOT_DS	 0x18u

void boot_sregs(const struct boot_regs *b, struct kvm_sregs *s)
{
	struct kvm_segment code = {.base = 0,
				   .limit = 0xffffffff,
				   .selector = BOOT_CS,
				   .type = 0xb,
				   .present = 1,
				   .s = 1,
				   .g = 1};
	struct kvm_segment data = {.base = 0,
				   .limit = 0xffffffff,
				   .selector = BOOT_DS,
				   .type = 0x3,
				   .present = 1,
				   .s = 1,
				   .g = 1,
				   .db = 1};

	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	s->efer = 0;
	if (b->proto == BOOT_LINUX64) {
		code.l = 1;
		s->cr0 |= CR0_PG;
		s->cr3 = GPA_PML4;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
		s->gdt.base = GPA_GDT;
		s->gdt.limit = sizeof(gdt) - 1;
	} else {
		code.db = 1;
		s->gdt.base = 0;
		s->gdt.limit = 0;
	}
	s->idt.base = 0;
	s->idt.limit = 0;
	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	/* A 32-bit busy TSS of the minimal size: PVH demands one, and VMX cannot enter without. */
	s->tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
}

void boot_gpregs(const struct boot_regs *b, struct kvm_regs *r)
{
	memset(r, 0, sizeof(*r));
	r->rflags = 2;
	r->rip = b->rip;
	if (b->proto == BOOT_LINUX64) {
		r->rsi = GPA_ZERO_PAGE;
		r->rsp = GPA_BOOT_STACK;
	} else {
		r->rbx = GPA_START_INFO;
	}
}
