/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel images: what they are read from, what loading one yields, and the loaders.
 *
 * An image may be hostile (users supply it): every size and offset in it is checked before use, all
 * loops are bounded, and memory taken for it is bounded by IMAGE_UNPACKED_MAX. No thread of its
 * own.
 */
#ifndef HUSK_VMM_IMAGE_H
#define HUSK_VMM_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "virtio/gmem.h"

#define IMAGE_UNPACKED_MAX (512ull << 20)
#define IMAGE_HDR_MAX	   0x180u /* boot protocol 2.15: setup header bytes from 0x1f1, at most */

/* Read by position, from a file or from memory. */
struct image_src {
	int fd; /* used when @buf is NULL; not owned */
	const uint8_t *buf;
	uint64_t size;
};
/* The file's size decides. -errno with a sentence ("kernel 'x': is a directory"). */
int image_open(struct image_src *s, int fd, const char *name, struct err *e) MUST_CHECK;
/* All @len bytes at @off, or -ENODATA beyond the end, or -errno. */
int image_read(const struct image_src *s, uint64_t off, void *buf, uint64_t len) MUST_CHECK;

enum boot_proto {
	BOOT_LINUX64, /* 64-bit entry of Linux: RSI = boot_params */
	BOOT_PVH,     /* 32-bit, EBX = hvm_start_info */
};

struct kernel_image {
	enum boot_proto proto;
	uint64_t entry;
	uint64_t end;		    /* first byte behind what was loaded */
	bool linux_note;	    /* has a note of owner "Linux" */
	bool ours;		    /* made from kernel-config/, as its build salt says */
	bool has_of;		    /* takes a device tree (it knows our bus's name) */
	uint32_t cmdline_max;	    /* bytes without the NUL */
	size_t hdr_len;		    /* of a bzImage's setup header; 0 = came as ELF */
	uint8_t hdr[IMAGE_HDR_MAX]; /* from offset 0x1f1 on */
};

/*
 * Loads an ELF or a bzImage into guest memory, which has to be fresh (zeros). @name is for the
 * sentence: "kernel 'name': reason".
 */
int image_load(const struct gmem *mem, const struct image_src *src, const char *name,
	       struct kernel_image *ret, struct err *e) MUST_CHECK;

/* The two formats; @src is known to start with the right magic, or is refused. */
bool elf_is(const struct image_src *src);
int elf_load(const struct gmem *mem, const struct image_src *src, const char *name,
	     struct kernel_image *ret, struct err *e) MUST_CHECK;
bool bzimage_is(const struct image_src *src);
int bzimage_load(const struct gmem *mem, const struct image_src *src, const char *name,
		 struct kernel_image *ret, struct err *e) MUST_CHECK;

#endif
