/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of a hostile driver to the two devices with one queue and no state of their own, virtio-rng and
 * virtio-pmem: chains of any shape, several at once, resets while a timer or an fsync is under way. What a
 * driver gave to be read stays as it is, no answer is longer than its rule says, and after a reset
 * nothing is written any more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MEMORY	 (128u << 10)
#define READONLY 64u	     /* bytes at the start of it that are only given to be read */
#define RNG_MAX	 (64u << 10) /* virtio/rng.c: what one request gets */

static struct loop *loop;
static struct virtio_dev *rng, *pmem;
static struct fg *gr, *gp;
static uint64_t room[2][VQ_SIZE_MAX]; /* by head: what the device may write */

static void die(const char *why)
{
	(void)fprintf(stderr, "fuzz_rng_pmem: %s\n", why);
	abort();
}

static void start(void)
{
	static const struct log_config quiet = {.program = "f", .file_fd = -1, .stderr_level = -1};
	struct pmem_config pc = {
	    .fd = memfd_create("pmem", MFD_CLOEXEC), .gpa = 0x123400000000, .len = 2u << 20};
	struct err e = {0};

	log_setup(&quiet);
	if (pc.fd < 0 || loop_new(&loop, 16, &e) < 0 || rng_new(&rng, "rng0", &e) < 0 ||
	    pmem_new(&pmem, "pmem0", &pc, &e) < 0)
		die(e.msg);
	gr = fg_new(MEMORY, 0);
	gp = fg_new(MEMORY, FG_TINY_REGIONS);
	fg_plug(gr, rng, loop);
	fg_plug(gp, pmem, loop);
}

/* Anywhere behind what is read-only, and sometimes where there is no memory: the guest has none so high. */
static uint64_t anywhere(struct fuzz_in *in, uint64_t ram)
{
	uint16_t at = fz_u16(in);

	return at == UINT16_MAX ? fz_u64(in) | 1ull << 40 : ram + READONLY + at;
}

static void one_request(struct fuzz_in *in, struct fg *g, uint64_t ram)
{
	struct fg_buf buf[6];
	uint8_t shape = fz_u8(in);
	unsigned cnt = 0, out = shape & 3, more = (shape >> 2) & 3;
	uint64_t sum = 0;

	for (unsigned i = 0; i < out; i++)
		buf[cnt++] = (struct fg_buf){ram + 4 * (fz_u8(in) % 16),
					     fz_u8(in) % (READONLY / 16 + 1), false};
	for (unsigned i = 0; i < more || !cnt; i++) {
		uint8_t len = fz_u8(in);

		buf[cnt++] = (struct fg_buf){
		    anywhere(in, ram), shape & 0x40 ? len * 1024u : len % 9, !(shape & 0x20) || i};
		sum += buf[cnt - 1].write ? buf[cnt - 1].len : 0;
	}
	if (fg_q(g, 0)->free_cnt >= (shape & 0x10 ? 1 : cnt))
		room[g == gp][fg_add(fg_q(g, 0), buf, cnt, shape & 0x10 ? FG_INDIRECT : 0)] = sum;
}

static void take(struct fg *g, uint32_t max)
{
	uint32_t written;
	int head;

	while ((head = fg_take(fg_q(g, 0), &written)) >= 0)
		if (written > max || written > room[g == gp][head])
			die("an answer is too long");
}

/* What the driver gave to be read: words of which some are flushes and some no request. */
static void put_words(struct fg *g, uint64_t ram)
{
	uint8_t words[READONLY];

	for (unsigned i = 0; i < READONLY; i++)
		words[i] = i % 8 < 4 ? 0 : (uint8_t)i;
	fg_put(g, ram, words, READONLY);
}

static void check_words(struct fg *g, uint64_t ram)
{
	for (unsigned i = 0; i < READONLY; i++)
		if (*fg_host(g, ram + i) != (i % 8 < 4 ? 0 : i))
			die("memory has changed that is only to be read");
}

static void reset(struct fg *g, struct virtio_dev *dev, uint64_t ram)
{
	uint8_t nothing[READONLY] = {0};

	fg_reset(g);
	while (dev->running)
		(void)loop_step(loop, true);
	check_words(g, ram);
	fg_put(g, ram + READONLY, nothing, READONLY);
	(void)loop_step(loop, false);
	for (unsigned i = 0; i < READONLY; i++)
		if (*fg_host(g, ram + READONLY + i))
			die("a device that was reset has written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = {data, len};
	uint64_t ram[2];

	if (!rng)
		start();
	for (unsigned i = 0; i < 2; i++) {
		struct fg *g = i ? gp : gr;

		fg_alloc_reset(g);
		ram[i] = fg_alloc(g, MEMORY, 1);
		put_words(g, ram[i]);
		if (fg_start(g, FG_ALL & ~((uint64_t)(fz_u8(&in) & 3) << 28)) < 0)
			die("start");
	}
	for (unsigned i = 0; i < 60 && in.left; i++) {
		uint8_t what = fz_u8(&in);
		unsigned one = what & 1;
		struct fg *g = one ? gp : gr;

		if (what >= 0xf8) {
			reset(g, one ? pmem : rng, ram[one]);
			if (fg_start(g, FG_ALL) < 0)
				die("start again");
			continue;
		}
		one_request(&in, g, ram[one]);
		if (what & 2)
			(void)fg_kick(fg_q(g, 0));
		if (what & 4)
			(void)loop_step(loop, false);
		if (what & 8)
			take(g, one ? 4 : RNG_MAX);
	}
	reset(gr, rng, ram[0]);
	reset(gp, pmem, ram[1]);
	return 0;
}
