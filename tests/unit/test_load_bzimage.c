/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_bzimage.c: images made here, in every format, whole and damaged.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include "vmm/image.h"

#define RAM	(8u << 20)
#define LOAD	0x100000u
#define SETUP	((4 + 1) * 512u)
#define ELF_LEN 20000u
#define CAP	65536u

static struct gmem mem;
static uint8_t *ram;
static struct err e;
static struct kernel_image img;
static uint8_t elf[ELF_LEN];
static uint8_t file[CAP];
static size_t payload_len;

static void store32(size_t at, uint32_t v)
{
	memcpy(file + at, &v, 4);
}

static void setup(void)
{
	Elf64_Ehdr *h = (void *)elf;
	Elf64_Phdr *ph = (void *)(elf + sizeof(*h));

	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(ram, MAP_FAILED);
	memset(&mem, 0, sizeof(mem));
	cr_assert_eq(gmem_add(&mem, 0, RAM, ram, false), 0);
	for (unsigned i = 0; i < ELF_LEN; i++)
		elf[i] = (uint8_t)(i * i >> 7);
	memset(elf, 0, sizeof(*h) + sizeof(*ph));
	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_machine = EM_X86_64;
	h->e_entry = LOAD;
	h->e_phoff = sizeof(*h);
	h->e_phentsize = sizeof(*ph);
	h->e_phnum = 1;
	*ph = (Elf64_Phdr){.p_type = PT_LOAD,
			   .p_offset = 1000,
			   .p_paddr = LOAD,
			   .p_filesz = 19000,
			   .p_memsz = 19000};
	memset(file, 0, sizeof(file));
	file[0x1f1] = 4;
	file[0x1fe] = 0x55;
	file[0x1ff] = 0xaa;
	file[0x200] = 0xeb;
	file[0x201] = 0x6a;
	memcpy(file + 0x202, "HdrS", 4);
	file[0x206] = 0x0f;
	file[0x207] = 0x02;
	file[0x236] = 1;
	store32(0x238, 1024);
	store32(0x248, 64);
}

static void teardown(void)
{
	(void)munmap(ram, RAM);
}

TestSuite(load_bzimage, .init = setup, .fini = teardown);

static uint8_t *payload(void)
{
	return file + SETUP + 64;
}

static size_t file_len(void)
{
	return SETUP + 64 + payload_len;
}

/* What the kernel's build does behind all but gzip. */
static void finish(size_t len, bool append_size)
{
	payload_len = len;
	if (append_size) {
		store32(SETUP + 64 + len, ELF_LEN);
		payload_len += 4;
	}
	store32(0x24c, (uint32_t)payload_len);
}

static void pack_gzip(void)
{
	z_stream z = {
	    .next_in = elf, .avail_in = ELF_LEN, .next_out = payload(), .avail_out = CAP - 4096};

	cr_assert_eq(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, 0), Z_OK);
	cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	(void)deflateEnd(&z);
	finish(z.total_out, false);
}

static void pack_xz(void)
{
	size_t out = 0;

	cr_assert_eq(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, elf, ELF_LEN, payload(),
					     &out, CAP - 4096),
		     LZMA_OK);
	finish(out, true);
}

static void pack_zstd(void)
{
	size_t n = ZSTD_compress(payload(), CAP - 4096, elf, ELF_LEN, 3);

	cr_assert_not(ZSTD_isError(n));
	finish(n, true);
}

static void pack_lz4(void)
{
	uint32_t magic = 0x184c2102, len;
	int n = LZ4_compress_default((char *)elf, (char *)payload() + 8, ELF_LEN, CAP - 8192);

	cr_assert_gt(n, 0);
	len = (uint32_t)n;
	memcpy(payload(), &magic, 4);
	memcpy(payload() + 4, &len, 4);
	finish(8 + len, true);
}

static int load_len(size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct image_src src = {.fd = -1, .buf = copy, .size = len};
	int rc;

	memcpy(copy, file, len);
	memset(ram + LOAD, 0, 20000);
	memset(&e, 0, sizeof(e));
	rc = image_load(&mem, &src, "k", &img, &e);
	free(copy);
	cr_assert(rc == 0 || e.msg[0]);
	return rc;
}

static int load(void)
{
	return load_len(file_len());
}

static void (*const pack[])(void) = {pack_gzip, pack_xz, pack_zstd, pack_lz4};

Test(load_bzimage, four_formats)
{
	for (unsigned i = 0; i < 4; i++) {
		pack[i]();
		cr_assert_eq(load(), 0, "%u: %s", i, e.msg);
		cr_assert_arr_eq(ram + LOAD, elf + 1000, 19000);
		cr_assert_eq(img.entry, LOAD);
		cr_assert_eq(img.cmdline_max, 1024u);
		cr_assert_eq(img.hdr_len, 0x202u + 0x6a - 0x1f1);
		cr_assert_eq(img.hdr[0x202 - 0x1f1], 'H');
	}
}

Test(load_bzimage, every_truncation_is_refused)
{
	for (unsigned i = 0; i < 4; i++) {
		pack[i]();
		for (size_t len = 0; len < file_len(); len += 1 + len / 50)
			cr_assert_lt(load_len(len), 0, "format %u, length %zu", i, len);
		cr_assert_lt(load_len(file_len() - 1), 0);
	}
}

Test(load_bzimage, a_cut_off_payload_is_refused)
{
	for (unsigned i = 0; i < 4; i++) {
		pack[i]();
		for (size_t cut = payload_len - 1; cut > 16; cut = cut * 2 / 3) {
			store32(0x24c, (uint32_t)cut);
			store32(SETUP + 64 + cut - 4, ELF_LEN);
			cr_assert_lt(load(), 0, "format %u, %zu bytes", i, cut);
			pack[i]();
		}
	}
}

Test(load_bzimage, unpacks_to_what_it_says_and_no_more)
{
	for (unsigned i = 0; i < 4; i++) {
		pack[i]();
		store32(file_len() - 4, ELF_LEN - 1);
		cr_assert_eq(load(), -ENOEXEC, "format %u: more comes out", i);
		store32(file_len() - 4, ELF_LEN + 1);
		cr_assert_eq(load(), -ENOEXEC, "format %u: less comes out", i);
		store32(file_len() - 4, 0);
		cr_assert_eq(load(), -ENOEXEC);
		store32(file_len() - 4, (uint32_t)IMAGE_UNPACKED_MAX + 1);
		e = (struct err){0};
		cr_assert_eq(load(), -ENOEXEC);
		cr_assert(strstr(e.msg, "at most"), "refused before memory is taken: %s", e.msg);
		store32(file_len() - 4, UINT32_MAX);
		cr_assert_eq(load(), -ENOEXEC);
	}
}

Test(load_bzimage, damaged_bytes)
{
	for (unsigned i = 0; i < 4; i++) {
		for (size_t at = 0; at < 200; at++) {
			pack[i]();
			payload()[at] ^= 0x41;
			(void)
			    load(); /* whatever it says: nothing is read or written out of bounds */
		}
	}
}

Test(load_bzimage, lz4_chunk_lengths)
{
	static const uint32_t bad[] = {0, 1, 0x7fffffff, 0xffffffff, 0x184c2102};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		pack_lz4();
		store32(SETUP + 64 + 4, bad[i]);
		cr_assert_eq(load(), -ENOEXEC, "%x", bad[i]);
	}
}

Test(load_bzimage, formats_that_are_refused_by_name)
{
	static const struct {
		const char *name;
		uint8_t magic[8];
	} f[] = {
	    {"bzip2", {'B', 'Z', 'h', '9'}}, {"lzma", {0x5d}}, {"lzo", {0x89, 'L', 'Z', 'O', 0}}};

	for (unsigned i = 0; i < 3; i++) {
		memcpy(payload(), f[i].magic, 8);
		finish(100, true);
		cr_assert_eq(load(), -ENOTSUP);
		cr_assert(strstr(e.msg, f[i].name), "%s", e.msg);
	}
	memset(payload(), 0x33, 100);
	finish(100, true);
	cr_assert_eq(load(), -ENOEXEC);
}

Test(load_bzimage, payload_that_is_not_compressed)
{
	memcpy(payload(), elf, ELF_LEN);
	finish(ELF_LEN, false);
	cr_assert_eq(load(), 0, "%s", e.msg);
}

Test(load_bzimage, payload_that_is_no_elf_file)
{
	elf[0] = 0;
	pack_gzip();
	cr_assert_eq(load(), -ENOEXEC);
	cr_assert(strstr(e.msg, "not an ELF"));
}

Test(load_bzimage, header)
{
	pack_gzip();
	file[0x206] = 7;
	cr_assert_eq(load(), -ENOTSUP, "boot protocol 2.07");
	file[0x206] = 0x0f;
	file[0x236] = 0;
	cr_assert_eq(load(), -ENOEXEC, "32-bit");
	file[0x236] = 1;
	store32(0x248, UINT32_MAX);
	cr_assert_eq(load(), -ENOEXEC);
	store32(0x248, 64);
	store32(0x24c, UINT32_MAX);
	cr_assert_eq(load(), -ENOEXEC);
	store32(0x24c, 0);
	cr_assert_eq(load(), -ENOEXEC);
	pack_gzip();
	store32(0x24c, (uint32_t)payload_len + 1);
	cr_assert_eq(load(), -ENOEXEC);
	pack_gzip();
	file[0x1f1] = 0; /* means 4 */
	cr_assert_eq(load(), 0, "%s", e.msg);
	file[0x1f1] = 255;
	cr_assert_eq(load(), -ENOEXEC);
	file[0x1f1] = 4;
	file[0x201] = 255;
	cr_assert_eq(load(), 0);
	cr_assert_leq(img.hdr_len, (size_t)IMAGE_HDR_MAX);
	file[0x202] = 'h';
	cr_assert_eq(load(), -ENOEXEC);
}
