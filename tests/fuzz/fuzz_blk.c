/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of a hostile driver to virtio-blk: any type, sector and shape of chain, several on their way
 * at once, resets in between. The image must keep its size.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SECTORS 64u
#define MEMORY	(64u << 10)

static struct loop *loop;
static struct virtio_dev *dev;
static struct fg *g;
static int image;

static void die(const char *why)
{
	(void)fprintf(stderr, "fuzz_blk: %s\n", why);
	abort();
}

static void start(void)
{
	struct blk_config cfg = {.serial = "fuzz"};
	struct err e = {0};

	image = memfd_create("image", MFD_CLOEXEC);
	if (image < 0 || ftruncate(image, SECTORS * 512) < 0)
		die("no image");
	cfg.fd = dup(image);
	if (loop_new(&loop, 64, &e) < 0 || blk_new(&dev, "blk0", &cfg, &e) < 0)
		die(e.msg);
	g = fg_new(MEMORY, FG_TINY_REGIONS);
	fg_plug(g, dev, loop);
}

static void request(struct fuzz_in *in)
{
	static const uint8_t types[] = {0, 1, 4, 8, 11, 13, 0, 1};
	struct fg_buf buf[6];
	unsigned cnt = 1 + fz_u8(in) % 5, n = 0;
	uint8_t t = fz_u8(in);
	struct {
		le32_t type, reserved;
		le64_t sector;
		le64_t range_sector;
		le32_t range_sectors, range_flags;
	} w = {.type = le32_of(t < 0xf0 ? types[t % 8] : fz_u32(in)),
	       .sector = le64_of(t & 0x40 ? fz_u64(in) : fz_u8(in)),
	       .range_sector = le64_of(t & 0x20 ? fz_u64(in) : fz_u8(in)),
	       .range_sectors = le32_of(t & 0x10 ? fz_u32(in) : fz_u8(in)),
	       .range_flags = le32_of(t & 8 ? fz_u8(in) : 0)};
	bool write = false;

	/* The header in one to three pieces, then what the input says. */
	buf[n++] = (struct fg_buf){fg_bytes(g, &w, 32), t & 1 ? 16 : fz_u8(in) % 33, false};
	for (unsigned i = 0; i < cnt; i++) {
		uint8_t v = fz_u8(in);
		uint32_t len = v & 4 ? (v >> 3) * 512u : v & 2 ? 1 : fz_u8(in);

		write |= v & 1;
		buf[n++] = (struct fg_buf){FG_BASE + (4u << 20) + fz_u16(in) % (MEMORY - 16384),
					   len, write};
	}
	(void)fg_add(fg_q(g, 0), buf, n, fz_u8(in) & 1 ? FG_INDIRECT : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = {data, len};
	struct stat st;

	if (!dev)
		start();
	fg_alloc_reset(g);
	if (fg_start(g, fz_u8(&in) & 1 ? FG_ALL : FG_ALL & ~(1ull << 9)) < 0)
		die("start");
	for (unsigned i = 0; i < 40 && in.left; i++) {
		request(&in);
		if (fz_u8(&in) & 1)
			(void)fg_kick(fg_q(g, 0));
		if (fz_u8(&in) < 0x40)
			while (fg_take(fg_q(g, 0), NULL) >= 0)
				;
	}
	(void)fg_kick(fg_q(g, 0));
	fg_reset(g);
	while (dev->running)
		(void)loop_step(loop, true);
	if (fstat(image, &st) < 0 || st.st_size != SECTORS * 512)
		die("the image has another size");
	return 0;
}
