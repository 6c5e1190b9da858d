/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.c: bytes, the size of requests, the rate.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

static struct virtio_dev *dev;
static struct fg *g;
static struct fg_queue *q;
static struct loop *l;

static void begin(unsigned flags, bool with_loop)
{
	struct err e = {0};

	if (with_loop)
		cr_assert_eq(loop_new(&l, 8, &e), 0, "%s", e.msg);
	g = fg_new(4 << 20, flags);
	cr_assert_eq(rng_new(&dev, "rng0", &e), 0);
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

static uint32_t ask(uint32_t len)
{
	uint32_t got = 0;

	(void)fg_add(q, &(struct fg_buf){fg_alloc(g, len, 1), len, true}, 1, 0);
	(void)fg_kick(q);
	cr_assert_geq(fg_take_wait(q, &got), 0);
	return got;
}

Test(rng, fills_all_of_the_buffer)
{
	uint8_t buf[600];
	unsigned seen[256] = {0}, kinds = 0;

	begin(FG_TINY_REGIONS, false);
	cr_assert_eq(ask(600), 600);
	fg_get(g, FG_BASE + (4 << 20), buf, 600);
	for (unsigned i = 0; i < 600; i++)
		kinds += !seen[buf[i]]++;
	cr_assert_gt(kinds, 128, "600 bytes with %u different values", kinds);
	/* Nothing beyond it. */
	fg_get(g, FG_BASE + (4 << 20) + 600, buf, 600);
	for (unsigned i = 0; i < 600; i++)
		cr_assert_eq(buf[i], 0);
	end();
}

Test(rng, a_request_gets_64_kib_at_most)
{
	begin(0, false);
	cr_assert_eq(ask(65536), 65536);
	cr_assert_eq(ask(1 << 20), 65536);
	end();
}

Test(rng, without_room_nothing_is_written)
{
	uint32_t got = 1;

	begin(0, false);
	(void)fg_add(q, &(struct fg_buf){fg_alloc(g, 64, 1), 64, false}, 1, 0);
	(void)fg_kick(q);
	cr_assert_geq(fg_take(q, &got), 0);
	cr_assert_eq(got, 0);
	end();
}

Test(rng, the_rate_is_limited_by_waiting)
{
	uint64_t t0;

	begin(0, true);
	/* The bucket, and as much again: at 4 MiB/s that takes 62 ms. */
	t0 = clock_ns();
	for (unsigned i = 0; i < 8; i++) {
		fg_alloc_reset(g);
		cr_assert_eq(ask(65536), 65536);
	}
	cr_assert_gt(clock_ns() - t0, 50 * NS_PER_MS);
	end();
}

Test(rng, a_reset_while_a_request_waits)
{
	begin(0, true);
	for (unsigned i = 0; i < 8; i++)
		(void)fg_add(q, &(struct fg_buf){fg_alloc(g, 65536, 1), 65536, true}, 1, 0);
	(void)fg_kick(q);
	cr_assert(dev->running);
	fg_reset(g);
	cr_assert(dev->running, "the timer is still the kernel's");
	while (dev->running)
		cr_assert_eq(loop_step(l, true), 0);
	cr_assert_eq(fg_reg(g, 0x70), 0);
	fg_alloc_reset(g);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_eq(ask(64), 64);
	end();
}
