/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pmem.c: config, flushes and their answers, faults, reset under way.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

static struct virtio_dev *dev;
static struct fg *g;
static struct fg_queue *q;
static struct loop *l;

static void begin(int fd, bool with_loop, unsigned flags)
{
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};
	struct pmem_config cfg = {.fd = fd, .gpa = 0x123400000000, .len = 0x200000};
	struct err e = {0};

	log_setup(&quiet);
	if (with_loop)
		cr_assert_eq(loop_new(&l, 8, &e), 0, "%s", e.msg);
	g = fg_new(1 << 20, flags);
	cr_assert_eq(pmem_new(&dev, "pmem0", &cfg, &e), 0);
	fg_plug(g, dev, l);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	q = fg_q(g, 0);
}

static void end(void)
{
	fg_reset(g);
	while (dev->running)
		cr_assert_eq(loop_step(l, true), 0);
	virtio_free(dev);
	loop_free(l);
	fg_free(g);
}

static uint64_t ask(uint32_t type, uint32_t out, uint32_t in)
{
	le32_t wire = le32_of(type);
	uint64_t req = fg_bytes(g, &wire, 4), resp = fg_bytes(g, "\xff\xff\xff\xff", 4);

	(void)fg_add(q, (struct fg_buf[]){{req, out, false}, {resp, in, true}}, 2, FG_INDIRECT);
	(void)fg_kick(q);
	return resp;
}

static uint32_t answer(uint64_t at)
{
	le32_t v;

	fg_get(g, at, &v, 4);
	return le32_get(v);
}

Test(pmem, config_says_where)
{
	uint64_t v;

	begin(memfd_create("p", MFD_CLOEXEC), false, 0);
	vmmio_read(fg_slot(g), 0x100, &v, 8);
	cr_assert_eq(le64toh(v), 0x123400000000);
	vmmio_read(fg_slot(g), 0x108, &v, 8);
	cr_assert_eq(le64toh(v), 0x200000);
	end();
}

Test(pmem, flush_is_answered)
{
	for (unsigned with_loop = 0; with_loop < 2; with_loop++) {
		uint32_t written;
		uint64_t at;

		begin(memfd_create("p", MFD_CLOEXEC), with_loop, FG_TINY_REGIONS);
		at = ask(0, 4, 4);
		cr_assert_geq(fg_take_wait(q, &written), 0);
		cr_assert_eq(written, 4);
		cr_assert_eq(answer(at), 0);
		end();
	}
}

Test(pmem, an_fsync_that_fails_is_told)
{
	int p[2];
	uint64_t at;

	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	begin(p[1], true, 0); /* a pipe cannot be synchronised */
	at = ask(0, 4, 4);
	cr_assert_geq(fg_take_wait(q, NULL), 0);
	cr_assert_eq(answer(at), 1);
	end();
}

Test(pmem, full_rings_of_flushes)
{
	unsigned taken = 0;

	begin(memfd_create("p", MFD_CLOEXEC), true, 0);
	for (unsigned round = 0; round < 20; round++) {
		uint64_t at[64];

		fg_alloc_reset(g);
		for (unsigned i = 0; i < 64; i++)
			at[i] = ask(i == 7 ? 5 : 0, 4, 4);
		for (unsigned i = 0; i < 64; i++, taken++)
			cr_assert_geq(fg_take_wait(q, NULL), 0);
		for (unsigned i = 0; i < 64; i++)
			cr_assert_eq(answer(at[i]), i == 7, "unknown requests are refused");
	}
	cr_assert_eq(taken, 1280);
	end();
}

Test(pmem, short_requests_fail_the_device)
{
	for (unsigned i = 0; i < 2; i++) {
		begin(memfd_create("p", MFD_CLOEXEC), false, 0);
		(void)ask(0, i ? 4 : 3, i ? 3 : 4);
		cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET);
		cr_assert_eq(fg_take(q, NULL), -1);
		cr_assert_eq(fg_start(g, FG_ALL), 0);
		(void)ask(0, 4, 4);
		cr_assert_geq(fg_take(q, NULL), 0);
		end();
	}
}

Test(pmem, a_reset_while_a_flush_runs)
{
	begin(memfd_create("p", MFD_CLOEXEC), true, 0);
	(void)ask(0, 4, 4);
	(void)ask(0, 4, 4);
	fg_reset(g);
	cr_assert(dev->running, "the fsync is still the kernel's");
	while (dev->running)
		cr_assert_eq(loop_step(l, true), 0);
	cr_assert_eq(fg_reg(g, 0x70), 0);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	(void)ask(0, 4, 4);
	cr_assert_geq(fg_take_wait(q, NULL), 0);
	end();
}
