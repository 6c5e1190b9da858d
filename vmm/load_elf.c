/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF kernels: Linux's vmlinux through its 64-bit entry, and PVH kernels through the address in
 * their Xen note (XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h).
 *
 * A vmlinux usually has both. The rule: who carries a note of owner "Linux" (the build salt, in
 * every vmlinux since 4.19) and is 64-bit goes through the 64-bit entry, since only that takes a
 * device tree; else who has the Xen note is PVH; else a 64-bit file goes through e_entry as Linux
 * does.
 *
 * Segments are read straight into guest memory. Fresh guest memory is zeros, so that what is beyond
 * p_filesz is not touched.
 *
 * Mapping the file there instead was measured and is worse: a boot takes 5240 faults of KVM instead
 * of 20, five times the exits, and three times as long under emulation, because the kernel's huge
 * pages fall apart; and KVM makes nearly all of it private anyway (Pss 38.1 MiB instead of 41.4).
 */
#include "vmm/image.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/fd.h"
#include "vmm/memmap.h"

#define PHDRS_MAX	      128u
#define NOTES_MAX	      (1u << 20)
#define NOTE_XEN_PHYS32_ENTRY 18u
#define NOTE_LINUX_BUILD_SALT 0x100u
#define LINUX_CMDLINE_MAX     2047u /* COMMAND_LINE_SIZE of x86, without the NUL */

/* Kernels of ours say in the salt note that they take a device tree: no need to search for it. */
#define SALT_FDT "husk-fdt"

struct elf {
	const char *name;
	bool is64;
	uint64_t entry;
	unsigned phnum;
	Elf64_Phdr ph[PHDRS_MAX];
	bool linux_note, salt_fdt, has_pvh;
	uint64_t pvh_entry;
};

bool elf_is(const struct image_src *src)
{
	uint8_t magic[SELFMAG];

	return image_read(src, 0, magic, sizeof(magic)) == 0 && !memcmp(magic, ELFMAG, SELFMAG);
}

static int bad(const struct elf *elf, struct err *e, const char *what)
{
	return err_set(e, -ENOEXEC, "kernel '%s': %s", elf->name, what);
}

static void widen(Elf64_Phdr *to, const Elf32_Phdr *from)
{
	*to = (Elf64_Phdr){.p_type = from->p_type,
			   .p_flags = from->p_flags,
			   .p_offset = from->p_offset,
			   .p_vaddr = from->p_vaddr,
			   .p_paddr = from->p_paddr,
			   .p_filesz = from->p_filesz,
			   .p_memsz = from->p_memsz,
			   .p_align = from->p_align};
}

static int read_phdrs(struct elf *elf, const struct image_src *src, uint64_t phoff, struct err *e)
{
	size_t each = elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

	for (unsigned i = 0; i < elf->phnum; i++) {
		Elf32_Phdr ph32;
		uint64_t off;
		int rc;

		if (__builtin_add_overflow(phoff, (uint64_t)i * each, &off))
			return bad(elf, e, "its program headers lie outside of the file");
		if (elf->is64) {
			rc = image_read(src, off, &elf->ph[i], sizeof(elf->ph[i]));
		} else {
			rc = image_read(src, off, &ph32, sizeof(ph32));
			if (rc == 0)
				widen(&elf->ph[i], &ph32);
		}
		if (rc == -ENODATA)
			return bad(elf, e, "its program headers lie outside of the file");
		if (rc < 0)
			return err_sys(e, rc, "kernel '%s'", elf->name);
	}
	return 0;
}

static int read_header(struct elf *elf, const struct image_src *src, struct err *e)
{
	unsigned char id[EI_NIDENT];
	unsigned machine, phentsize;
	uint64_t phoff;
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;
	int rc;

	rc = image_read(src, 0, id, sizeof(id));
	if (rc < 0)
		return bad(elf, e, "its ELF header is cut off");
	if (id[EI_DATA] != ELFDATA2LSB ||
	    (id[EI_CLASS] != ELFCLASS64 && id[EI_CLASS] != ELFCLASS32))
		return bad(elf, e, "not a little-endian ELF file");
	elf->is64 = id[EI_CLASS] == ELFCLASS64;
	rc = elf->is64 ? image_read(src, 0, &h64, sizeof(h64))
		       : image_read(src, 0, &h32, sizeof(h32));
	if (rc < 0)
		return bad(elf, e, "its ELF header is cut off");
	machine = elf->is64 ? h64.e_machine : h32.e_machine;
	if (machine != EM_X86_64 && machine != EM_386)
		return err_set(e, -ENOEXEC,
			       "kernel '%s': made for another architecture (ELF machine %u)",
			       elf->name, machine);
	elf->entry = elf->is64 ? h64.e_entry : h32.e_entry;
	phoff = elf->is64 ? h64.e_phoff : h32.e_phoff;
	phentsize = elf->is64 ? h64.e_phentsize : h32.e_phentsize;
	elf->phnum = elf->is64 ? h64.e_phnum : h32.e_phnum;
	if (!elf->phnum)
		return bad(elf, e, "an ELF file without program headers (not linked?)");
	if (elf->phnum > PHDRS_MAX)
		return err_set(e, -ENOEXEC,
			       "kernel '%s': %u program headers; at most %u are accepted",
			       elf->name, elf->phnum, PHDRS_MAX);
	if (phentsize != (elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return bad(elf, e, "its program headers have the wrong size");
	return read_phdrs(elf, src, phoff, e);
}

/* One note: @desc has @len bytes, which need not be aligned. */
static void take_note(struct elf *elf, const char *owner, uint32_t owner_len, uint32_t type,
		      const uint8_t *desc, uint32_t len)
{
	if (owner_len == sizeof("Linux") && !memcmp(owner, "Linux", sizeof("Linux"))) {
		elf->linux_note = true;
		if (type == NOTE_LINUX_BUILD_SALT && len >= sizeof(SALT_FDT) - 1 &&
		    !memcmp(desc, SALT_FDT, sizeof(SALT_FDT) - 1))
			elf->salt_fdt = true;
	}
	if (owner_len == sizeof("Xen") && !memcmp(owner, "Xen", sizeof("Xen")) &&
	    type == NOTE_XEN_PHYS32_ENTRY && (len == 4 || len == 8) && !elf->has_pvh) {
		le64_t v = {0};

		memcpy(&v, desc, len);
		elf->pvh_entry = le64_get(v);
		elf->has_pvh = true;
	}
}

/* Each round takes at least the 12 bytes of a note's head, and everything is compared by
 * subtraction. */
static int walk_notes(struct elf *elf, const uint8_t *p, size_t left, size_t align)
{
	while (left >= sizeof(Elf64_Nhdr)) {
		uint64_t name_room, desc_room;
		Elf64_Nhdr n;

		memcpy(&n, p, sizeof(n));
		p += sizeof(n);
		left -= sizeof(n);
		name_room = ALIGN_UP((uint64_t)n.n_namesz, (uint64_t)align);
		if (name_room > left)
			return -EINVAL;
		desc_room = ALIGN_UP((uint64_t)n.n_descsz, (uint64_t)align);
		if (n.n_descsz > left - name_room)
			return -EINVAL;
		take_note(elf, (const char *)p, n.n_namesz, n.n_type, p + name_room, n.n_descsz);
		desc_room = MIN(desc_room, left - name_room); /* the last one may go unpadded */
		p += name_room + desc_room;
		left -= name_room + desc_room;
	}
	return 0;
}

static int read_notes(struct elf *elf, const struct image_src *src, struct err *e)
{
	for (unsigned i = 0; i < elf->phnum; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];
		auto_free uint8_t *large = NULL;
		uint8_t small[1024], *buf = small;
		int rc;

		if (ph->p_type != PT_NOTE || !ph->p_filesz)
			continue;
		if (ph->p_filesz > NOTES_MAX)
			return bad(elf, e, "its notes are longer than 1 MiB");
		/* The usual ones without the allocator: it would make this thread an arena. */
		if (ph->p_filesz > sizeof(small))
			buf = large = malloc(ph->p_filesz);
		if (!buf)
			return err_set(e, -ENOMEM, "kernel '%s': out of memory", elf->name);
		rc = image_read(src, ph->p_offset, buf, ph->p_filesz);
		if (rc == -ENODATA)
			return bad(elf, e, "its notes lie outside of the file");
		if (rc < 0)
			return err_sys(e, rc, "kernel '%s'", elf->name);
		if (walk_notes(elf, buf, ph->p_filesz, ph->p_align == 8 ? 8 : 4) < 0)
			return bad(elf, e, "a note is longer than the segment that it is in");
	}
	return 0;
}

static int load_segment(const struct elf *elf, const struct gmem *mem, const struct image_src *src,
			const Elf64_Phdr *ph, struct err *e)
{
	uint64_t end;
	void *to;
	int rc;

	if (ph->p_filesz > ph->p_memsz)
		return bad(elf, e, "a segment is larger in the file than in memory");
	if (__builtin_add_overflow(ph->p_paddr, ph->p_memsz, &end))
		return bad(elf, e, "a segment wraps around the end of memory");
	if (ph->p_paddr < GPA_KERNEL_MIN)
		return err_set(e, -ENOEXEC,
			       "kernel '%s': wants to be loaded at 0x%llx; below 1 MiB is not "
			       "possible",
			       elf->name, (unsigned long long)ph->p_paddr);
	to = gmem_map(mem, ph->p_paddr, ph->p_memsz, 1, true);
	if (!to)
		return err_set(e, -ENOMEM,
			       "kernel '%s': does not fit into the guest's memory: it needs "
			       "0x%llx to 0x%llx",
			       elf->name, (unsigned long long)ph->p_paddr, (unsigned long long)end);
	rc = image_read(src, ph->p_offset, to, ph->p_filesz);
	if (rc == -ENODATA)
		return bad(elf, e, "a segment lies outside of the file (is the file cut off?)");
	if (rc < 0)
		return err_sys(e, rc, "kernel '%s'", elf->name);
	return 0;
}

/*
 * Does a kernel without our salt take a device tree? It does when it knows the bus that our devices
 * are on. The name is in Linux's init data, which is linked last: so from the back, and it is found
 * at once or never.
 */
static bool knows_our_tree(const struct elf *elf, const struct gmem *mem)
{
	static const char name[] = "intel,ce4100-cp";

	for (unsigned i = elf->phnum; i-- > 0;) {
		const Elf64_Phdr *ph = &elf->ph[i];
		const void *p;

		if (ph->p_type != PT_LOAD || !ph->p_filesz)
			continue;
		p = gmem_map(mem, ph->p_paddr, ph->p_filesz, 1, false);
		if (p && memmem(p, ph->p_filesz, name, sizeof(name)))
			return true;
	}
	return false;
}

/* Is @gpa in a loaded segment? */
static bool is_loaded(const struct elf *elf, uint64_t gpa)
{
	for (unsigned i = 0; i < elf->phnum; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];

		if (ph->p_type == PT_LOAD && gpa - ph->p_paddr < ph->p_memsz)
			return true;
	}
	return false;
}

static int choose_entry(const struct elf *elf, struct kernel_image *ret, struct err *e)
{
	if (elf->has_pvh && !(elf->is64 && elf->linux_note)) {
		ret->proto = BOOT_PVH;
		ret->entry = elf->pvh_entry;
		if (ret->entry > UINT32_MAX)
			return bad(elf, e, "its PVH entry is not below 4 GiB");
	} else if (elf->is64) {
		ret->proto = BOOT_LINUX64;
		ret->entry = elf->entry;
	} else {
		return bad(elf, e, "a 32-bit ELF file without a PVH note cannot be booted");
	}
	if (!is_loaded(elf, ret->entry))
		return bad(elf, e, "its entry point is not in what it loads");
	return 0;
}

int elf_load(const struct gmem *mem, const struct image_src *src, const char *name,
	     struct kernel_image *ret, struct err *e)
{
	struct elf file = {.name = name}, *elf = &file;
	int rc = read_header(elf, src, e);

	if (rc == 0)
		rc = read_notes(elf, src, e);
	for (unsigned i = 0; rc == 0 && i < elf->phnum; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];

		if (ph->p_type != PT_LOAD || !ph->p_memsz)
			continue;
		rc = load_segment(elf, mem, src, ph, e);
		if (rc == 0)
			ret->end = MAX(ret->end, ph->p_paddr + ph->p_memsz);
	}
	if (rc == 0 && !ret->end)
		rc = bad(elf, e, "there is nothing in it to load");
	if (rc == 0)
		rc = choose_entry(elf, ret, e);
	if (rc < 0)
		return rc;
	ret->cmdline_max = LINUX_CMDLINE_MAX;
	ret->linux_note = elf->linux_note;
	ret->ours = elf->salt_fdt;
	if (ret->proto == BOOT_LINUX64)
		ret->has_of = elf->salt_fdt || knows_our_tree(elf, mem);
	return 0;
}
