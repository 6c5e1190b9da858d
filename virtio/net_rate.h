/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast packets may pass in one direction of a NIC: a token bucket for bytes and one for packets. The
 * state of a bucket is the moment at which it will be full again; a packet passes when that is at
 * most the bucket's depth away, and moves it by what the packet costs. So a packet larger than a
 * bucket passes too, and those behind it wait for longer.
 *
 * Pure: no clock, no memory. The device's thread.
 */
#ifndef HUSK_VIRTIO_NET_RATE_H
#define HUSK_VIRTIO_NET_RATE_H

#include <stddef.h>
#include <stdint.h>
#include "virtio/devices.h"

struct net_rate {
	struct net_limit limit;
	uint64_t bytes_full, packets_full; /* ns */
};

/* When the next packet may pass, in ns of the clock that @now is of; 0 = at once, at any time. */
uint64_t net_rate_when(const struct net_rate *r);
/* A packet of @len bytes has passed. */
void net_rate_spend(struct net_rate *r, size_t len, uint64_t now);

static inline int net_rate_on(const struct net_rate *r)
{
	return r->limit.bytes || r->limit.packets;
}

#endif
