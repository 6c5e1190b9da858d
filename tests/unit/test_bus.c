/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.c: ranges are found at their first and last byte and nowhere else.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "vmm/bus.h"

struct seen {
	unsigned reads, writes;
	uint64_t off;
	unsigned len;
	uint8_t last;
};

static void on_read(void *ctx, uint64_t off, void *buf, unsigned len)
{
	struct seen *s = ctx;

	s->reads++;
	s->off = off;
	s->len = len;
	memset(buf, 0x5a, len);
}

static void on_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	struct seen *s = ctx;

	s->writes++;
	s->off = off;
	s->len = len;
	s->last = *(const uint8_t *)buf;
}

static const struct bus_ops ops = {.read = on_read, .write = on_write};

Test(bus, finds_each_range_whatever_the_order_of_adding)
{
	static const uint64_t base[] = {0x3000, 0x1000, 0x5000, 0x2000, 0x4000};
	struct seen s[5] = {0};
	struct bus b = {.cnt = 0};
	uint8_t v = 1;

	for (unsigned i = 0; i < 5; i++)
		cr_assert_eq(bus_add(&b, base[i], 0x100, &ops, &s[i]), 0);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert(bus_write(&b, base[i] + 0x10 + i, &v, 1));
		cr_assert_eq(s[i].writes, 1u);
		cr_assert_eq(s[i].off, 0x10u + i);
	}
}

Test(bus, an_access_beyond_either_end_is_nobodys)
{
	struct seen s = {0};
	struct bus b = {.cnt = 0};
	uint8_t buf[8];

	cr_assert_eq(bus_add(&b, 0x1000, 0x10, &ops, &s), 0);
	cr_assert(bus_read(&b, 0x1000, buf, 1));
	cr_assert(bus_read(&b, 0x100c, buf, 4));
	cr_assert_eq(s.off, 0xcu);
	cr_assert_not(bus_read(&b, 0xfff, buf, 1));
	cr_assert_not(bus_read(&b, 0xffe, buf, 4));
	cr_assert_not(bus_read(&b, 0x100d, buf, 4), "sticks out at the end");
	cr_assert_not(bus_write(&b, 0x100f, buf, 2));
	cr_assert_not(bus_read(&b, 0x1010, buf, 1));
	cr_assert_eq(s.reads, 2u);
	cr_assert_eq(s.writes, 0u);
	for (unsigned i = 0; i < 4; i++)
		buf[i] = 0;
	(void)bus_read(&b, 0x100d, buf, 4);
	cr_assert_eq(buf[0] & buf[1] & buf[2] & buf[3], 0xff, "unclaimed reads as ones");
}

Test(bus, top_of_the_address_space)
{
	struct seen s = {0};
	struct bus b = {.cnt = 0};
	uint8_t buf[8];

	cr_assert_eq(bus_add(&b, UINT64_MAX - 7, 8, &ops, &s), 0);
	cr_assert(bus_read(&b, UINT64_MAX, buf, 1));
	cr_assert_not(bus_read(&b, UINT64_MAX, buf, 2), "wraps");
	cr_assert_eq(bus_add(&b, UINT64_MAX - 15, 17, &ops, &s), -EINVAL);
	cr_assert_eq(bus_add(&b, 0x10, 0, &ops, &s), -EINVAL);
}

Test(bus, overlap_is_refused)
{
	struct seen s = {0};
	struct bus b = {.cnt = 0};

	cr_assert_eq(bus_add(&b, 0x1000, 0x100, &ops, &s), 0);
	cr_assert_eq(bus_add(&b, 0x10ff, 1, &ops, &s), -EEXIST);
	cr_assert_eq(bus_add(&b, 0xf00, 0x101, &ops, &s), -EEXIST);
	cr_assert_eq(bus_add(&b, 0x1000, 1, &ops, &s), -EEXIST);
	cr_assert_eq(bus_add(&b, 0, UINT64_MAX, &ops, &s), -EEXIST);
	cr_assert_eq(bus_add(&b, 0x1100, 1, &ops, &s), 0);
	cr_assert_eq(bus_add(&b, 0xfff, 1, &ops, &s), 0);
}

Test(bus, full_table)
{
	struct seen s = {0};
	struct bus b = {.cnt = 0};

	for (unsigned i = 0; i < BUS_RANGES_MAX; i++)
		cr_assert_eq(bus_add(&b, i * 16ull, 16, &ops, &s), 0);
	cr_assert_eq(bus_add(&b, BUS_RANGES_MAX * 16ull, 16, &ops, &s), -ENOSPC);
}

Test(bus, width_is_bounded)
{
	struct seen s = {0};
	struct bus b = {.cnt = 0};
	uint8_t buf[16];

	cr_assert_eq(bus_add(&b, 0, 0x100, &ops, &s), 0);
	cr_assert(bus_read(&b, 0, buf, 8));
	cr_assert_not(bus_read(&b, 0, buf, 9));
	cr_assert_not(bus_write(&b, 0, buf, 16));
	cr_assert_not(bus_write(&b, 0, buf, 0));
	cr_assert_eq(s.writes, 0u);
}
