/* SPDX-License-Identifier: Apache-2.0 */
/* See net_rate.h. */
#include "virtio/net_rate.h"

#include "base/clock.h"
#include "base/compiler.h"

static uint64_t when(uint64_t full, uint64_t depth)
{
	return full > depth ? full - depth : 0;
}

uint64_t net_rate_when(const struct net_rate *r)
{
	uint64_t depth = r->limit.burst_ns ? r->limit.burst_ns : NET_BURST_NS;

	return MAX(when(r->bytes_full, depth), when(r->packets_full, depth));
}

static void spend(uint64_t *full, uint64_t rate, uint64_t units, uint64_t now)
{
	/* A packet has at most 64 KiB: no overflow. */
	if (rate)
		*full = MAX(*full, now) + units * NS_PER_SEC / rate;
}

void net_rate_spend(struct net_rate *r, size_t len, uint64_t now)
{
	spend(&r->bytes_full, r->limit.bytes, len, now);
	spend(&r->packets_full, r->limit.packets, 1, now);
}
