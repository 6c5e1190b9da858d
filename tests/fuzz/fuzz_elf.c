/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile kernel file against image.c, load_elf.c and load_bzimage.c. What loads must have its
 * entry and its end in memory.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/compiler.h"
#include "vmm/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define RAM (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct image_src src = {.fd = -1, .buf = data, .size = len};
	struct kernel_image img;
	struct gmem mem = {.cnt = 0};
	struct err e = {0};
	uint8_t *ram = malloc(RAM);

	if (!ram)
		return 0;
	BUG_ON(gmem_add(&mem, 0, RAM, ram, false) < 0);
	if (image_load(&mem, &src, "fuzz", &img, &e) == 0) {
		BUG_ON(img.entry >= RAM || img.end > RAM || !img.end);
		BUG_ON(img.hdr_len > IMAGE_HDR_MAX);
	} else {
		BUG_ON(!e.msg[0] || e.code >= 0);
	}
	free(ram);
	return 0;
}
