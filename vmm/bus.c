/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sorted table of address ranges. See bus.h.
 */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops, void *ctx)
{
	unsigned at = 0;

	if (!len || base + (len - 1) < base)
		return -EINVAL;
	if (b->cnt == BUS_RANGES_MAX)
		return -ENOSPC;
	while (at < b->cnt && b->r[at].base < base)
		at++;
	if (at > 0 && base - b->r[at - 1].base < b->r[at - 1].len)
		return -EEXIST;
	if (at < b->cnt && b->r[at].base - base < len)
		return -EEXIST;
	memmove(&b->r[at + 1], &b->r[at], (b->cnt - at) * sizeof(b->r[0]));
	b->r[at] = (struct bus_range){.base = base, .len = len, .ops = ops, .ctx = ctx};
	b->cnt++;
	return 0;
}

/* The range that holds all of [addr, addr+len), or NULL. */
static const struct bus_range *find(const struct bus *b, uint64_t addr, unsigned len)
{
	unsigned lo = 0, hi = b->cnt;
	const struct bus_range *r;
	uint64_t off;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (b->r[mid].base <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || !len || len > BUS_ACCESS_MAX)
		return NULL;
	r = &b->r[lo - 1];
	off = addr - r->base;
	return off < r->len && len <= r->len - off ? r : NULL;
}

int bus_read(const struct bus *b, uint64_t addr, void *buf, unsigned len)
{
	const struct bus_range *r = find(b, addr, len);

	memset(buf, 0xff, len);
	if (!r)
		return 0;
	r->ops->read(r->ctx, addr - r->base, buf, len);
	return 1;
}

int bus_write(const struct bus *b, uint64_t addr, const void *buf, unsigned len)
{
	const struct bus_range *r = find(b, addr, len);

	if (!r)
		return 0;
	r->ops->write(r->ctx, addr - r->base, buf, len);
	return 1;
}
