/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzImage kernels: the compressed vmlinux in it is unpacked here, on the host, and loaded as the
 * ELF file that it is. The guest's own decompressor never runs.
 *
 * Documentation/x86/boot.rst (setup header, payload_offset, payload_length). The payload's last
 * four bytes are its unpacked size; for gzip they belong to the stream, for the others the kernel's
 * build appends them. That size says how much memory is taken, and unpacking never goes beyond it.
 */
#define ZLIB_CONST /* const input */
#include "vmm/image.h"

#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include "base/endian.h"
#include "base/fd.h"

/* Offsets in the file. */
#define OFF_SETUP_SECTS	   0x1f1u
#define OFF_BOOT_FLAG	   0x1feu
#define OFF_JUMP_LEN	   0x201u
#define OFF_HEADER	   0x202u
#define OFF_VERSION	   0x206u
#define OFF_XLOADFLAGS	   0x236u
#define OFF_CMDLINE_SIZE   0x238u
#define OFF_PAYLOAD_OFFSET 0x248u
#define OFF_PAYLOAD_LENGTH 0x24cu
#define HEAD_LEN	   0x400u

#define BOOT_FLAG	   0xaa55u
#define VERSION_MIN	   0x0208u /* has the payload's place */
#define XLF_64		   1u

#define LZ4_LEGACY_MAGIC   0x184c2102u
#define LZ4_LEGACY_CHUNK   (8u << 20)
#define XZ_MEMORY_MAX	   (256ull << 20) /* dictionary and all */

struct payload {
	const uint8_t *in;
	size_t in_len;
	uint8_t *out;
	size_t out_len; /* exactly this much has to come out */
};

static uint32_t load16(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t load32(const uint8_t *p)
{
	return load16(p) | load16(p + 2) << 16;
}

bool bzimage_is(const struct image_src *src)
{
	uint8_t b[OFF_HEADER + 4];

	return image_read(src, 0, b, sizeof(b)) == 0 && load16(b + OFF_BOOT_FLAG) == BOOT_FLAG &&
	       !memcmp(b + OFF_HEADER, "HdrS", 4);
}

/* ---- unpackers: 0 when out_len bytes came out, else -EBADMSG or -ENOMEM -------------------------
 */
static int unpack_gzip(const struct payload *p)
{
	z_stream z = {.next_in = p->in,
		      .avail_in = (uInt)p->in_len,
		      .next_out = p->out,
		      .avail_out = (uInt)p->out_len};
	int rc;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return -ENOMEM;
	rc = inflate(&z, Z_FINISH);
	(void)inflateEnd(&z);
	return rc == Z_STREAM_END && z.total_out == p->out_len ? 0 : -EBADMSG;
}

static int unpack_xz(const struct payload *p)
{
	uint64_t memory = XZ_MEMORY_MAX;
	size_t in = 0, out = 0;
	lzma_ret rc = lzma_stream_buffer_decode(&memory, 0, NULL, p->in, &in, p->in_len, p->out,
						&out, p->out_len);

	if (rc == LZMA_MEM_ERROR)
		return -ENOMEM;
	return rc == LZMA_OK && out == p->out_len ? 0 : -EBADMSG;
}

static int unpack_zstd(const struct payload *p)
{
	size_t n = ZSTD_decompress(p->out, p->out_len, p->in, p->in_len);

	return !ZSTD_isError(n) && n == p->out_len ? 0 : -EBADMSG;
}

/* The format of `lz4 -l`: a magic, then chunks of at most 8 MiB, each behind its packed length. */
static int unpack_lz4(const struct payload *p)
{
	size_t at = 4, out = 0;

	while (out < p->out_len) {
		size_t room = MIN(p->out_len - out, LZ4_LEGACY_CHUNK);
		uint32_t len;
		int n;

		if (p->in_len - at < 4)
			return -EBADMSG;
		len = load32(p->in + at);
		at += 4;
		if (len == LZ4_LEGACY_MAGIC)
			continue; /* concatenated streams */
		if (!len || len > p->in_len - at ||
		    len > (uint32_t)LZ4_compressBound(LZ4_LEGACY_CHUNK))
			return -EBADMSG;
		n = LZ4_decompress_safe((const char *)p->in + at, (char *)p->out + out, (int)len,
					(int)room);
		if (n <= 0)
			return -EBADMSG;
		at += len;
		out += (size_t)n;
	}
	return 0;
}

/* ---- formats -----------------------------------------------------------------------------------
 */
static const struct format {
	const char *name;
	uint8_t magic[6];
	unsigned magic_len;
	int (*unpack)(const struct payload *p); /* NULL: known, and not supported */
	bool own_size;				/* the size at the end is part of the stream */
} formats[] = {
    {"gzip", {0x1f, 0x8b}, 2, unpack_gzip, true},
    {"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, unpack_xz, false},
    {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, unpack_zstd, false},
    {"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, unpack_lz4, false},
    {"bzip2", {'B', 'Z', 'h'}, 3, NULL, false},
    {"lzma", {0x5d, 0, 0}, 3, NULL, false},
    {"lzo", {0x89, 'L', 'Z', 'O', 0}, 5, NULL, false},
};

static const struct format *find_format(const uint8_t *in, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (len >= formats[i].magic_len &&
		    !memcmp(in, formats[i].magic, formats[i].magic_len))
			return &formats[i];
	}
	return NULL;
}

static int bad(const char *name, struct err *e, const char *what)
{
	return err_set(e, -ENOEXEC, "kernel '%s': %s", name, what);
}

static int unpack_and_load(const struct gmem *mem, const struct payload *p, const struct format *f,
			   const char *name, struct kernel_image *ret, struct err *e)
{
	struct image_src elf = {.fd = -1, .buf = p->out, .size = p->out_len};
	int rc = f->unpack(p);

	if (rc == -ENOMEM)
		return err_set(e, rc, "kernel '%s': out of memory while unpacking it", name);
	if (rc < 0)
		return err_set(e, -ENOEXEC, "kernel '%s': its %s payload is damaged", name,
			       f->name);
	if (!elf_is(&elf))
		return bad(name, e, "its payload is not an ELF file");
	return elf_load(mem, &elf, name, ret, e);
}

static int load_payload(const struct gmem *mem, const uint8_t *in, size_t in_len, const char *name,
			struct kernel_image *ret, struct err *e)
{
	const struct format *f = find_format(in, in_len);
	struct payload p = {.in = in, .in_len = in_len};
	void *out;
	int rc;

	if (!f && in_len >= 4 && !memcmp(in, "\177ELF", 4)) {
		struct image_src elf = {.fd = -1, .buf = in, .size = in_len};

		return elf_load(mem, &elf, name, ret, e);
	}
	if (!f)
		return bad(name, e, "its payload is compressed in a way that is not known here");
	if (!f->unpack)
		return err_set(e, -ENOTSUP,
			       "kernel '%s': its payload is compressed with %s; gzip, xz, zstd and "
			       "lz4 are supported",
			       name, f->name);
	if (in_len < 16)
		return bad(name, e, "its payload is cut off");
	p.out_len = load32(in + in_len - 4);
	if (!f->own_size)
		p.in_len -= 4;
	if (!p.out_len || p.out_len > IMAGE_UNPACKED_MAX)
		return err_set(e, -ENOEXEC,
			       "kernel '%s': says that it unpacks to %zu bytes; at most %llu are "
			       "accepted",
			       name, p.out_len, IMAGE_UNPACKED_MAX);
	out = mmap(NULL, p.out_len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (out == MAP_FAILED)
		return err_set(e, -ENOMEM, "kernel '%s': out of memory while unpacking it", name);
	(void)madvise(out, p.out_len, MADV_HUGEPAGE);
	p.out = out;
	rc = unpack_and_load(mem, &p, f, name, ret, e);
	(void)munmap(out, p.out_len);
	return rc;
}

/* The setup header as Linux wants to find it in boot_params: up to where its jump instruction
 * points. */
static void keep_header(const uint8_t head[HEAD_LEN], struct kernel_image *ret)
{
	size_t end = OFF_HEADER + head[OFF_JUMP_LEN];

	ret->hdr_len = MIN(end - OFF_SETUP_SECTS, (size_t)IMAGE_HDR_MAX);
	memcpy(ret->hdr, head + OFF_SETUP_SECTS, ret->hdr_len);
}

int bzimage_load(const struct gmem *mem, const struct image_src *src, const char *name,
		 struct kernel_image *ret, struct err *e)
{
	uint8_t head[HEAD_LEN];
	auto_free uint8_t *payload = NULL;
	uint64_t start, len, setup;
	uint32_t cmdline;
	int rc = image_read(src, 0, head, sizeof(head));

	if (rc < 0)
		return bad(name, e, "a bzImage that is cut off in its header");
	if (load16(head + OFF_VERSION) < VERSION_MIN)
		return err_set(e, -ENOTSUP,
			       "kernel '%s': a bzImage of boot protocol %u.%02u; 2.08 or newer is "
			       "needed",
			       name, head[OFF_VERSION + 1], head[OFF_VERSION]);
	if (load16(head + OFF_VERSION) >= 0x020c && !(load16(head + OFF_XLOADFLAGS) & XLF_64))
		return bad(name, e, "a 32-bit kernel; only 64-bit ones can be booted");
	/* All three are at most 32 bits wide: no sum here overflows 64. */
	setup = head[OFF_SETUP_SECTS] ? head[OFF_SETUP_SECTS] : 4;
	start = (setup + 1) * 512 + load32(head + OFF_PAYLOAD_OFFSET);
	len = load32(head + OFF_PAYLOAD_LENGTH);
	if (!len || start > src->size || len > src->size - start)
		return bad(name, e, "its payload lies outside of the file (is the file cut off?)");
	payload = malloc(len);
	if (!payload)
		return err_set(e, -ENOMEM, "kernel '%s': out of memory", name);
	rc = image_read(src, start, payload, len);
	if (rc < 0)
		return err_sys(e, rc, "kernel '%s'", name);
	rc = load_payload(mem, payload, len, name, ret, e);
	if (rc < 0)
		return rc;
	cmdline = load32(head + OFF_CMDLINE_SIZE);
	if (cmdline && cmdline < ret->cmdline_max)
		ret->cmdline_max = cmdline;
	if (ret->proto == BOOT_LINUX64)
		keep_header(head, ret);
	return 0;
}
