/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports and MMIO addresses to what is behind them. Filled before the first vCPU runs and frozen
 * then, so that vCPU threads look things up without a lock.
 */
#ifndef HUSK_VMM_BUS_H
#define HUSK_VMM_BUS_H

#include <stdint.h>
#include "base/compiler.h"

#define BUS_RANGES_MAX 64u
#define BUS_ACCESS_MAX 8u

/* [off, off+len) lies inside the range; @len is 1 to BUS_ACCESS_MAX. vCPU threads. */
struct bus_ops {
	void (*read)(void *ctx, uint64_t off, void *buf, unsigned len);
	void (*write)(void *ctx, uint64_t off, const void *buf, unsigned len);
};

struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *ctx;
};

struct bus {
	struct bus_range r[BUS_RANGES_MAX]; /* by address, none overlapping */
	unsigned cnt;
};

/* 0, -EINVAL (empty, wrapping), -EEXIST (overlap), -ENOSPC. */
int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops,
	    void *ctx) MUST_CHECK;

/*
 * What nobody claims, or sticks out of what somebody claims, or is wider than BUS_ACCESS_MAX, reads
 * as all ones; writes vanish. Returns whether somebody was there.
 */
int bus_read(const struct bus *b, uint64_t addr, void *buf, unsigned len);
int bus_write(const struct bus *b, uint64_t addr, const void *buf, unsigned len);

#endif
