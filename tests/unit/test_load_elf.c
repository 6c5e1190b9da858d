/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_elf.c: what it takes, and every way in which a file may lie.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/image.h"

#define RAM  (8u << 20)
#define LOAD 0x100000u

static struct gmem mem;
static uint8_t *ram;
static struct err e;
static struct kernel_image img;

/* A file: header, two program headers (code, notes), code, notes. */
static struct file {
	Elf64_Ehdr h;
	Elf64_Phdr ph[2];
	uint8_t code[64];
	uint8_t notes[128];
} f;

static void setup(void)
{
	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(ram, MAP_FAILED);
	memset(&mem, 0, sizeof(mem));
	memset(&e, 0, sizeof(e));
	cr_assert_eq(gmem_add(&mem, 0, RAM, ram, false), 0);
	memset(&f, 0, sizeof(f));
	memcpy(f.h.e_ident, ELFMAG, SELFMAG);
	f.h.e_ident[EI_CLASS] = ELFCLASS64;
	f.h.e_ident[EI_DATA] = ELFDATA2LSB;
	f.h.e_machine = EM_X86_64;
	f.h.e_entry = LOAD + 4;
	f.h.e_phoff = offsetof(struct file, ph);
	f.h.e_phentsize = sizeof(Elf64_Phdr);
	f.h.e_phnum = 1;
	f.ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
			       .p_offset = offsetof(struct file, code),
			       .p_paddr = LOAD,
			       .p_filesz = sizeof(f.code),
			       .p_memsz = 4096};
	f.ph[1] =
	    (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = offsetof(struct file, notes), .p_align = 4};
	memset(f.code, 0x90, sizeof(f.code));
}

static void teardown(void)
{
	(void)munmap(ram, RAM);
}

TestSuite(load_elf, .init = setup, .fini = teardown);

static int load_len(size_t len)
{
	/* A copy of the right length: the sanitizer sees a read beyond it. */
	uint8_t *copy = malloc(len ? len : 1);
	struct image_src src = {.fd = -1, .buf = copy, .size = len};
	int rc;

	memcpy(copy, &f, len);
	memset(&e, 0, sizeof(e));
	rc = image_load(&mem, &src, "k", &img, &e);
	free(copy);
	cr_assert(rc == 0 || e.msg[0], "an error has a sentence");
	return rc;
}

static int load(void)
{
	return load_len(sizeof(f));
}

static size_t add_note(size_t at, const char *owner, uint32_t owner_len, uint32_t type,
		       const void *desc, uint32_t len)
{
	Elf64_Nhdr n = {.n_namesz = owner_len, .n_descsz = len, .n_type = type};

	memcpy(f.notes + at, &n, sizeof(n));
	at += sizeof(n);
	memcpy(f.notes + at, owner, owner_len);
	at += (owner_len + 3) & ~3u;
	memcpy(f.notes + at, desc, len);
	at += (len + 3) & ~3u;
	f.ph[1].p_filesz = at;
	f.h.e_phnum = 2;
	return at;
}

Test(load_elf, plain_64_bit)
{
	cr_assert_eq(load(), 0, "%s", e.msg);
	cr_assert_eq(img.proto, BOOT_LINUX64);
	cr_assert_eq(img.entry, LOAD + 4);
	cr_assert_eq(img.end, LOAD + 4096);
	cr_assert_eq(ram[LOAD], 0x90);
	cr_assert_eq(ram[LOAD + 63], 0x90);
	cr_assert_eq(ram[LOAD + 64], 0);
	cr_assert_not(img.has_of);
}

Test(load_elf, pvh_note_alone_means_pvh)
{
	uint32_t entry = LOAD + 8;

	(void)add_note(0, "Xen", 4, 18, &entry, 4);
	cr_assert_eq(load(), 0, "%s", e.msg);
	cr_assert_eq(img.proto, BOOT_PVH);
	cr_assert_eq(img.entry, entry);
}

Test(load_elf, linux_with_pvh_note_goes_through_the_64_bit_entry)
{
	uint32_t entry = LOAD + 8;
	size_t at = add_note(0, "Xen", 4, 18, &entry, 4);

	(void)add_note(at, "Linux", 6, 0x100, "", 1);
	cr_assert_eq(load(), 0, "%s", e.msg);
	cr_assert_eq(img.proto, BOOT_LINUX64);
	cr_assert(img.linux_note);
	cr_assert_not(img.has_of);
}

Test(load_elf, device_tree_by_salt_or_by_name)
{
	static const char name[] = "intel,ce4100-cp";

	(void)add_note(0, "Linux", 6, 0x100, "husk-fdt", 9);
	cr_assert_eq(load(), 0);
	cr_assert(img.has_of);
	(void)add_note(0, "Linux", 6, 0x100, "husk-fd", 8);
	cr_assert_eq(load(), 0);
	cr_assert_not(img.has_of);
	memcpy(f.code + 10, name, sizeof(name));
	cr_assert_eq(load(), 0);
	cr_assert(img.has_of);
}

Test(load_elf, pvh_32_bit_file)
{
	struct {
		Elf32_Ehdr h;
		Elf32_Phdr ph[2];
		uint8_t code[16];
		uint32_t note[5];
	} g = {.code = {1, 2, 3}, .note = {4, 4, 18, 0x6e6558, LOAD}};
	struct image_src src = {.fd = -1, .buf = (uint8_t *)&g, .size = sizeof(g)};

	memcpy(g.h.e_ident, ELFMAG, SELFMAG);
	g.h.e_ident[EI_CLASS] = ELFCLASS32;
	g.h.e_ident[EI_DATA] = ELFDATA2LSB;
	g.h.e_machine = EM_386;
	g.h.e_phoff = sizeof(g.h);
	g.h.e_phentsize = sizeof(g.ph[0]);
	g.h.e_phnum = 2;
	g.ph[0] = (Elf32_Phdr){.p_type = PT_LOAD,
			       .p_offset = sizeof(g.h) + sizeof(g.ph),
			       .p_paddr = LOAD,
			       .p_filesz = 16,
			       .p_memsz = 16};
	g.ph[1] = (Elf32_Phdr){
	    .p_type = PT_NOTE, .p_offset = sizeof(g.h) + sizeof(g.ph) + 16, .p_filesz = 20};
	cr_assert_eq(image_load(&mem, &src, "k", &img, &e), 0, "%s", e.msg);
	cr_assert_eq(img.proto, BOOT_PVH);
	cr_assert_eq(ram[LOAD + 1], 2);
	g.h.e_phnum = 1;
	memset(&e, 0, sizeof(e));
	cr_assert_eq(image_load(&mem, &src, "k", &img, &e), -ENOEXEC, "32-bit needs the note");
}

Test(load_elf, every_truncation_is_refused)
{
	uint32_t entry = LOAD;

	(void)add_note(0, "Xen", 4, 18, &entry, 4);
	for (size_t len = 0; len < offsetof(struct file, notes) + f.ph[1].p_filesz; len++)
		cr_assert_lt(load_len(len), 0, "length %zu", len);
	cr_assert_eq(load_len(offsetof(struct file, notes) + f.ph[1].p_filesz), 0);
}

Test(load_elf, not_for_us)
{
	f.h.e_machine = EM_AARCH64;
	cr_assert_eq(load(), -ENOEXEC);
	cr_assert(strstr(e.msg, "architecture"));
	f.h.e_machine = EM_X86_64;
	f.h.e_ident[EI_DATA] = ELFDATA2MSB;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_ident[EI_DATA] = ELFDATA2LSB;
	f.h.e_ident[EI_CLASS] = 3;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_ident[EI_MAG0] = 0;
	cr_assert_eq(load(), -ENOEXEC);
	cr_assert_str_eq(e.msg, "kernel 'k': not an ELF file or bzImage");
}

Test(load_elf, program_headers)
{
	f.h.e_phnum = 0;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_phnum = 129;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_phnum = 0xffff;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_phnum = 1;
	f.h.e_phentsize = 1;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_phentsize = sizeof(Elf64_Phdr);
	f.h.e_phoff = sizeof(f);
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_phoff = UINT64_MAX - 8;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_phnum = 2;
	f.h.e_phoff = UINT64_MAX - sizeof(Elf64_Phdr) + 1;
	cr_assert_eq(load(), -ENOEXEC);
}

Test(load_elf, segments)
{
	f.ph[0].p_filesz = 4097;
	cr_assert_eq(load(), -ENOEXEC, "larger in the file than in memory");
	f.ph[0].p_filesz = sizeof(f.code);
	f.ph[0].p_memsz = sizeof(f.code) - 1;
	cr_assert_eq(load(), -ENOEXEC, "larger in the file than in memory, and all of it there");
	f.ph[0].p_memsz = 4096;
	f.ph[0].p_paddr = UINT64_MAX - 4094;
	cr_assert_eq(load(), -ENOEXEC, "wraps");
	f.ph[0].p_paddr = 0xfff00;
	cr_assert_eq(load(), -ENOEXEC, "below 1 MiB");
	f.ph[0].p_paddr = RAM - 4095;
	cr_assert_eq(load(), -ENOMEM, "ends behind RAM");
	f.ph[0].p_paddr = RAM + 4096;
	cr_assert_eq(load(), -ENOMEM);
	f.ph[0].p_paddr = LOAD;
	f.ph[0].p_memsz = UINT64_MAX - LOAD;
	cr_assert_eq(load(), -ENOMEM);
	f.ph[0].p_memsz = 4096;
	f.ph[0].p_offset = UINT64_MAX - 8;
	cr_assert_eq(load(), -ENOEXEC);
	f.ph[0].p_offset = sizeof(f) - 63;
	cr_assert_eq(load(), -ENOEXEC);
	f.ph[0].p_memsz = f.ph[0].p_filesz = 0;
	cr_assert_eq(load(), -ENOEXEC, "nothing to load");
}

Test(load_elf, entry_has_to_be_in_what_is_loaded)
{
	uint64_t entry = 0x100000000ull + LOAD;

	f.h.e_entry = LOAD - 1;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_entry = LOAD + 4096;
	cr_assert_eq(load(), -ENOEXEC);
	f.h.e_entry = LOAD + 4095;
	cr_assert_eq(load(), 0);
	(void)add_note(0, "Xen", 4, 18, &entry, 8);
	cr_assert_eq(load(), -ENOEXEC, "PVH entry above 4 GiB");
	entry = 0x300000;
	(void)add_note(0, "Xen", 4, 18, &entry, 8);
	cr_assert_eq(load(), -ENOEXEC);
}

Test(load_elf, notes_that_lie)
{
	uint32_t entry = LOAD;
	size_t good = add_note(0, "Xen", 4, 18, &entry, 4);
	Elf64_Nhdr *n = (void *)f.notes;

	n->n_namesz = UINT32_MAX;
	cr_assert_eq(load(), -ENOEXEC);
	n->n_namesz = UINT32_MAX - 2; /* rounds up to 2^32 */
	cr_assert_eq(load(), -ENOEXEC);
	n->n_namesz = (uint32_t)good;
	cr_assert_eq(load(), -ENOEXEC);
	n->n_namesz = 4;
	n->n_descsz = UINT32_MAX;
	cr_assert_eq(load(), -ENOEXEC);
	n->n_descsz = 5;
	cr_assert_eq(load(), -ENOEXEC, "one beyond the segment");
	n->n_descsz = 4;
	cr_assert_eq(load(), 0);
	cr_assert_eq(img.proto, BOOT_PVH);
	f.ph[1].p_offset = sizeof(f) - 8;
	cr_assert_eq(load(), -ENOEXEC);
	f.ph[1].p_offset = 0;
	f.ph[1].p_filesz = (1u << 20) + 1;
	cr_assert_eq(load(), -ENOEXEC, "too many notes");
	f.ph[1].p_filesz = UINT64_MAX;
	cr_assert_eq(load(), -ENOEXEC);
}

Test(load_elf, empty_notes_end)
{
	f.h.e_phnum = 2;
	f.ph[1].p_filesz = sizeof(f.notes); /* all zeros: notes without name and content */
	cr_assert_eq(load(), 0);
	f.ph[1].p_filesz = 11;
	cr_assert_eq(load(), 0, "shorter than a note's head");
}
