/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload of a bzImage: the input is put behind a header that is right, so that what is
 * unpacked and then loaded is what gets tried. The last four bytes are the unpacked size, as in the
 * format.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "vmm/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define RAM   (4u << 20)
#define SETUP 1024u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct image_src src = {.fd = -1, .size = SETUP + len};
	struct gmem mem = {.cnt = 0};
	struct kernel_image img;
	struct err e = {0};
	uint8_t *ram, *file;
	uint32_t n = (uint32_t)len;

	/* Up to 64 MiB of output are let through: more is refused by the same check, and only slow.
	 */
	if (len >= 4 && data[len - 1] > 3)
		return 0;
	ram = malloc(RAM);
	file = calloc(1, SETUP + len);
	if (ram && file) {
		file[0x1f1] = 1;
		memcpy(file + 0x1fe, "\x55\xaa\xeb\x6a", 4);
		memcpy(file + 0x202, "HdrS\x0f\x02", 6);
		file[0x236] = 1;
		memcpy(file + 0x24c, &n, sizeof(n));
		if (len)
			memcpy(file + SETUP, data, len);
		src.buf = file;
		BUG_ON(gmem_add(&mem, 0, RAM, ram, false) < 0);
		if (image_load(&mem, &src, "fuzz", &img, &e) == 0)
			BUG_ON(img.entry >= RAM || img.end > RAM);
		else
			BUG_ON(!e.msg[0]);
	}
	free(file);
	free(ram);
	return 0;
}
