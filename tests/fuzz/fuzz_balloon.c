/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver of the two devices that give memory back, virtio-balloon and virtio-mem: lists of any
 * pages, reports of any memory, any request. Nothing that is not the guest's RAM may change: a window of
 * another kind and the host's own memory around it keep their pattern.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/endian.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define RAM	 0x80000000ull
#define RAM_LEN	 (64ull << 12)
#define WINDOW	 (RAM + RAM_LEN) /* follows on the host too, and has a page behind it */
#define GUARD	 (16u << 12)
#define VMEM	 0x5000000000ull
#define VMEM_LEN (512ull << 20)

static struct virtio_dev *balloon, *vmem;
static struct fg *gb, *gv;
static struct loop *loop;
static uint8_t *ram, *added;

static void die(const char *why)
{
	(void)fprintf(stderr, "fuzz_balloon: %s\n", why);
	abort();
}

static uint8_t *pages(size_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static int grow(void *ctx, uint64_t usable)
{
	struct gmem *m = fg_mem(gv);

	(void)ctx;
	return m->r[m->cnt - 1].gpa == VMEM ? gmem_grow(m, VMEM, usable)
					    : gmem_add_ram(m, VMEM, usable, added);
}

static void start(void)
{
	struct balloon_config bc = {.stats = true};
	struct vmem_config vc = {.gpa = VMEM, .len = VMEM_LEN, .grow = grow};
	struct log_config quiet = {.program = "fuzz", .file_fd = -1, .stderr_level = -1};
	struct err e = {0};

	log_setup(&quiet);
	ram = pages(RAM_LEN + GUARD);
	added = pages(VMEM_LEN);
	memset(ram + RAM_LEN, 'g', GUARD);
	if (loop_new(&loop, 16, &e) < 0 || balloon_new(&balloon, "balloon0", &bc, &e) < 0 ||
	    vmem_new(&vmem, "mem0", &vc, &e) < 0)
		die(e.msg);
	gb = fg_new(1 << 20, 0);
	gv = fg_new(1 << 16, FG_TINY_REGIONS);
	if (gmem_add_ram(fg_mem(gb), RAM, RAM_LEN, ram) < 0 ||
	    gmem_add(fg_mem(gb), WINDOW, GUARD / 2, ram + RAM_LEN, false) < 0)
		die("memory");
	fg_plug(gb, balloon, loop);
	fg_plug(gv, vmem, loop);
}

static void one_list(struct fuzz_in *in)
{
	unsigned cnt = fz_u8(in) % 40;
	le32_t w[40];

	for (unsigned i = 0; i < cnt; i++) {
		uint8_t how = fz_u8(in);

		w[i] = le32_of(how < 0xf8 ? (uint32_t)(RAM >> 12) + how % 70 : fz_u32(in));
	}
	(void)fg_add(
	    fg_q(gb, fz_u8(in) % 3),
	    &(struct fg_buf){fg_bytes(gb, w, sizeof(w)), cnt * 4 + fz_u8(in) % 2, fz_u8(in) == 1},
	    1, 0);
}

static void one_report(struct fuzz_in *in)
{
	struct fg_buf buf[6];
	unsigned cnt = 1 + fz_u8(in) % 6;

	for (unsigned i = 0; i < cnt; i++)
		buf[i] = (struct fg_buf){RAM + fz_u32(in) % (RAM_LEN + GUARD), fz_u16(in),
					 fz_u8(in) != 1};
	(void)fg_add(fg_q(gb, 3), buf, cnt, FG_INDIRECT);
}

static void one_request(struct fuzz_in *in)
{
	struct fg_queue *q = fg_q(gv, 0);
	uint8_t t = fz_u8(in);
	struct {
		le16_t type, padding[3];
		le64_t addr;
		le16_t blocks, padding2[3];
	} w = {.type = le16_of(t & 0x80 ? fz_u16(in) : t % 4),
	       .addr = le64_of(t & 0x40 ? fz_u64(in) : VMEM + fz_u8(in) * VMEM_BLOCK),
	       .blocks = le16_of(t & 0x20 ? fz_u16(in) : fz_u8(in) % 8)};

	if (q->free_cnt < 2) /* the device has stopped at a fault and gives none back */
		return;
	(void)fg_add(q,
		     (struct fg_buf[]){{fg_bytes(gv, &w, sizeof(w)), t == 0x1f ? 9 : 24, false},
				       {fg_alloc(gv, 16, 1), t == 0x3f ? 9 : 10, true}},
		     2, 0);
	(void)fg_kick(q);
}

static void check(void)
{
	struct vmem_size s;

	if (ram[RAM_LEN] != 'g' || memcmp(ram + RAM_LEN, ram + RAM_LEN + 1, GUARD - 1) != 0)
		die("memory that is not RAM has changed");
	vmem_size(vmem, &s);
	if (s.plugged > VMEM_LEN || s.plugged % VMEM_BLOCK)
		die("plugged size");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = {data, len};

	if (!balloon)
		start();
	fg_alloc_reset(gb);
	fg_alloc_reset(gv);
	if (fg_start(gb, FG_ALL & ~(fz_u8(&in) & 0x32ull)) < 0 || fg_start(gv, FG_ALL) < 0)
		die("start");
	for (unsigned i = 0; i < 60 && in.left; i++) {
		switch (fz_u8(&in) % 6) {
		case 0:
			one_list(&in);
			break;
		case 1:
			one_report(&in);
			break;
		case 2:
			(void)balloon_ask(balloon);
			balloon_set_target(balloon, fz_u64(&in));
			break;
		case 3:
			if (vmem_request_size(vmem, fz_u32(&in) % (VMEM_LEN + 4096)) == -ENOMEM)
				die("grow");
			break;
		default:
			one_request(&in);
			break;
		}
		for (unsigned q = 0; q < 4; q++) {
			(void)fg_kick(fg_q(gb, q));
			while (fg_take(fg_q(gb, q), NULL) >= 0)
				;
		}
		while (fg_take(fg_q(gv, 0), NULL) >= 0)
			;
	}
	check();
	fg_reset(gb);
	fg_reset(gv);
	while (balloon->running || vmem->running)
		(void)loop_step(loop, true);
	return 0;
}
