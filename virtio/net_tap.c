/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap as the other end of virtio-net: a descriptor for each pair of queues. Loop thread.
 *
 * The tap carries the same 12-byte header as the queues, so packets go between it and guest memory
 * without a copy; the kernel parses the header, and takes what it makes no sense of for an error.
 *
 * A read that is too short cuts a packet. So behind the chains always lies a bounce buffer: what spills
 * into it is copied when more chains come up, or the packet is dropped.
 *
 * A tap of several queues spreads packets over those that are attached: the ones that the driver does
 * not use are detached, or what is spread there would be lost.
 */
#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "virtio/net_priv.h"

/* Linux 6.2; before that TUNSETOFFLOAD refuses them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* What the tap takes from the guest comes with what it may give: one bit each in 5.1.3. */
static const struct {
	unsigned tun;
	uint64_t guest, host;
	uint64_t needs; /* of the guest's */
} offloads[] = {
    {TUN_F_CSUM, NET_F_GUEST_CSUM, NET_F_CSUM, 0},
    {TUN_F_TSO4, NET_F_GUEST_TSO4, NET_F_HOST_TSO4, NET_F_GUEST_CSUM},
    {TUN_F_TSO6, NET_F_GUEST_TSO6, NET_F_HOST_TSO6, NET_F_GUEST_CSUM},
    {TUN_F_TSO_ECN, NET_F_GUEST_ECN, NET_F_HOST_ECN, NET_F_GUEST_CSUM},
    {TUN_F_UFO, NET_F_GUEST_UFO, NET_F_HOST_UFO, NET_F_GUEST_CSUM},
    {TUN_F_USO4, NET_F_GUEST_USO4, NET_F_HOST_USO, NET_F_GUEST_CSUM},
    {TUN_F_USO6, NET_F_GUEST_USO6, NET_F_HOST_USO, NET_F_GUEST_CSUM},
};

/* Best first. */
static const unsigned sets[] = {
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO | TUN_F_USO4 | TUN_F_USO6,
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO,
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
};

static void probe_offloads(int fd, uint64_t *features)
{
	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		if (ioctl(fd, TUNSETOFFLOAD, sets[i]) < 0)
			continue;
		for (size_t k = 0; k < ARRAY_LEN(offloads); k++)
			if (sets[i] & offloads[k].tun)
				*features |= offloads[k].guest | offloads[k].host;
		*features |= NET_F_GUEST_OFFLOADS;
		(void)ioctl(fd, TUNSETOFFLOAD, 0); /* until the driver says what it takes */
		return;
	}
}

static int probe_queue(const struct net *n, int fd, const char *name, struct err *e)
{
	struct ifreq ifr = {0};
	int len = NET_HDR_LEN;

	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return -ENOTTY;
	if (!(ifr.ifr_flags & IFF_VNET_HDR) || !(ifr.ifr_flags & IFF_NO_PI) ||
	    !(ifr.ifr_flags & IFF_TAP))
		return err_set(e, -EINVAL,
			       "nic %s: '%.*s' is not a tap with IFF_NO_PI and IFF_VNET_HDR", name,
			       IFNAMSIZ, ifr.ifr_name);
	if (n->pair_cnt > 1 && !(ifr.ifr_flags & IFF_MULTI_QUEUE))
		return err_set(e, -EINVAL, "nic %s: '%.*s' is not a tap of several queues", name,
			       IFNAMSIZ, ifr.ifr_name);
	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0)
		return err_sys(e, -errno, "nic %s: setting the header's size", name);
	return 0;
}

/* A descriptor that is no tap (a test's socket) carries plain packets only. */
static int tap_probe(struct net *n, const char *name, uint64_t *features, struct err *e)
{
	for (unsigned i = 0; i < n->pair_cnt; i++) {
		int rc = probe_queue(n, n->pair[i].fd, name, e);

		if (rc == -ENOTTY && i == 0)
			return 0;
		if (rc < 0)
			return rc == -ENOTTY
				   ? err_set(e, rc, "nic %s: queue %u is not a tap's", name, i)
				   : rc;
	}
	n->is_tap = true;
	probe_offloads(n->pair[0].fd, features);
	return 0;
}

static int tap_offload(struct net *n, uint64_t features)
{
	unsigned set = 0;

	if (!(n->dev.features & NET_F_GUEST_OFFLOADS))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(offloads); i++)
		if ((features & offloads[i].guest) &&
		    (features & offloads[i].needs) == offloads[i].needs)
			set |= offloads[i].tun;
	/* Without segmentation there is nothing for it to be about, and the kernel refuses it. */
	if (!(set & (TUN_F_TSO4 | TUN_F_TSO6)))
		set &= ~(unsigned)TUN_F_TSO_ECN;
	/* Linux has the two together only. */
	if ((set & (TUN_F_USO4 | TUN_F_USO6)) != (TUN_F_USO4 | TUN_F_USO6))
		set &= ~(unsigned)(TUN_F_USO4 | TUN_F_USO6);
	return ioctl(n->pair[0].fd, TUNSETOFFLOAD, set) < 0 ? -errno : 0;
}

static int tap_enable(struct net_pair *p, bool on)
{
	struct ifreq ifr = {.ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

	if (p->attached == on)
		return 0;
	if (p->net->is_tap && ioctl(p->fd, TUNSETQUEUE, &ifr) < 0)
		return -errno;
	p->attached = on;
	return 0;
}

/* The rest of a packet that the chains at hand did not take: false when there is nowhere to put it. */
static bool spill(struct net_pair *p, size_t room, size_t len)
{
	unsigned spans = p->rx_spans;

	net_rx_fill(p, NET_PACKET_MAX);
	if (p->net->dev.broken || p->rx_room < len)
		return false;
	(void)iov_write(p->rx_iov + spans, p->rx_spans - spans, 0, p->bounce, len - room);
	return true;
}

static int tap_recv(struct net_pair *p)
{
	size_t room;
	ssize_t got;

	net_rx_fill(p, NET_PACKET_MAX);
	if (!p->rx_cnt || p->net->dev.broken)
		return -ENOBUFS;
	room = p->rx_room;
	/* net_rx_fill() overwrites it afterwards */
	p->rx_iov[p->rx_spans] = (struct iovec){p->bounce, NET_PACKET_MAX};
	got = readv(p->fd, p->rx_iov, (int)p->rx_spans + 1);
	if (got < 0)
		return -errno;
	if (got < (ssize_t)NET_PACKET_MIN || ((size_t)got > room && !spill(p, room, (size_t)got))) {
		p->rx_dropped++;
		return p->net->dev.broken ? -ENOBUFS : 0;
	}
	net_rx_push(p, (size_t)got);
	return 0;
}

static int tap_send(struct net_pair *p)
{
	ssize_t rc;

	do
		rc = writev(p->fd, vq_out(&p->tx), (int)p->tx.out_cnt);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

const struct net_end net_tap_end = {
    .probe = tap_probe,
    .recv = tap_recv,
    .send = tap_send,
    .offload = tap_offload,
    .enable = tap_enable,
};
