/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2, section 5.1) on a tap: one receive and one transmit queue. Loop thread.
 *
 * The tap carries the same 12-byte header as the queues, so packets go between the tap and guest memory
 * without a copy; the kernel parses the header, and takes what it makes no sense of for an error.
 *
 * Receiving: the length of a packet is known only when it has been read, and a read that is too short
 * cuts it. So chains are taken in advance until they hold the largest packet (mergeable buffers), and
 * behind them always lies a bounce buffer: what spills into it is copied when more chains come up, or
 * the packet is dropped. Chains that a packet did not need wait for the next one.
 *
 *	poll -> read until EAGAIN or no chains -> one interrupt -> poll
 *	no chains -> kicks on -> kick
 *
 * Sending: one writev per chain; when the tap is full its chain is held until the tap is writable. What
 * the tap refuses is dropped and counted.
 */
#include "virtio/devices.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/endian.h"
#include "base/fd.h"

#define QUEUE_NUM   256u
#define RX_Q	    0u
#define TX_Q	    1u
#define HDR_LEN	    12u		       /* struct virtio_net_hdr_v1 */
#define HDR_BUFFERS 10u		       /* offset of num_buffers in it */
#define PACKET_MAX  (HDR_LEN + 65550u) /* 64 KiB of IP and an Ethernet header */
#define PACKET_MIN  (HDR_LEN + 14u)
#define CHAINS_MAX  64u /* of one received packet */
#define CHAIN_SPANS 128u
#define SPANS	    512u
#define BUDGET	    256u /* packets before other devices get their turn */

/* 5.1.3 */
#define F_CSUM	     (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_MTU	     (1ull << 3)
#define F_MAC	     (1ull << 5)
#define F_GUEST_TSO4 (1ull << 7)
#define F_GUEST_TSO6 (1ull << 8)
#define F_GUEST_ECN  (1ull << 9)
#define F_HOST_TSO4  (1ull << 11)
#define F_HOST_TSO6  (1ull << 12)
#define F_HOST_ECN   (1ull << 13)
#define F_MRG_RXBUF  (1ull << 15)
#define F_STATUS     (1ull << 16)

#define F_OFFLOADS                                                                                 \
	(F_CSUM | F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN | F_HOST_TSO4 |         \
	 F_HOST_TSO6 | F_HOST_ECN)
#define TUN_OFFLOADS   (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)

#define STATUS_LINK_UP 1u

struct cfg_wire {
	uint8_t mac[6];
	le16_t status, max_pairs, mtu;
};
_Static_assert(sizeof(struct cfg_wire) == 12, "virtio 1.2, 5.1.4");

struct net {
	struct virtio_dev dev; /* first */
	int fd;
	bool draining;
	struct loop_work more_tx;

	/* Receiving: chains taken, oldest first; their spans lie in rx_iov one after the other. */
	struct loop_op rx_poll;
	bool rx_dead; /* the tap has failed */
	struct vq_chain rx[CHAINS_MAX];
	unsigned rx_cnt, rx_spans;
	size_t rx_room;
	struct iovec rx_iov[SPANS + 1]; /* and the bounce buffer */
	uint8_t *bounce;		/* PACKET_MAX bytes, touched when a packet spills */

	/* Sending. */
	struct loop_op tx_poll;
	bool tx_held;
	struct vq_chain tx;
	struct iovec tx_iov[CHAIN_SPANS];

	uint64_t rx_packets, tx_packets, rx_dropped, tx_dropped;
};

static struct net *net_of(struct virtio_dev *dev)
{
	return container_of(dev, struct net, dev);
}

static void drained_maybe(struct net *n)
{
	if (!n->draining || n->rx_poll.busy || n->tx_poll.busy || n->more_tx.queued)
		return;
	n->draining = false;
	virtio_stopped(&n->dev); /* may be the end of n */
}

/* ---- receiving -------------------------------------------------------------------------------------- */

static void link_down(struct virtio_dev *dev, void *arg)
{
	struct cfg_wire w;

	(void)arg;
	memcpy(&w, dev->cfg, sizeof(w));
	w.status = le16_of(0);
	memcpy(dev->cfg, &w, sizeof(w));
}

/* How many chains a packet may need: one, unless the driver merges. */
static unsigned rx_chains(const struct net *n)
{
	return virtio_has(&n->dev, F_MRG_RXBUF) ? CHAINS_MAX : 1;
}

/* Takes chains until the largest packet fits, as far as there are any and there is room to note them. */
static void rx_fill(struct net *n)
{
	struct vq *q = &n->dev.vq[RX_Q];

	while (n->rx_cnt < rx_chains(n) && n->rx_room < PACKET_MAX &&
	       n->rx_spans + CHAIN_SPANS <= SPANS) {
		struct vq_chain *c = &n->rx[n->rx_cnt];

		*c = (struct vq_chain){.iov = n->rx_iov + n->rx_spans, .cap = CHAIN_SPANS};
		if (vq_pop(q, c) <= 0)
			return;
		if (c->out_cnt || c->in_len < HDR_LEN) {
			virtio_fail(&n->dev, "a receive buffer of %zu bytes, %zu of them readable",
				    c->in_len, c->out_len);
			return;
		}
		n->rx_cnt++;
		n->rx_spans += c->in_cnt;
		n->rx_room += c->in_len;
	}
}

/* Forgets the first @cnt chains, which have been pushed. */
static void rx_consume(struct net *n, unsigned cnt)
{
	unsigned spans = 0;

	for (unsigned i = 0; i < cnt; i++) {
		spans += n->rx[i].in_cnt;
		n->rx_room -= n->rx[i].in_len;
	}
	n->rx_cnt -= cnt;
	n->rx_spans -= spans;
	memmove(n->rx, n->rx + cnt, n->rx_cnt * sizeof(n->rx[0]));
	memmove(n->rx_iov, n->rx_iov + spans, n->rx_spans * sizeof(n->rx_iov[0]));
	for (unsigned i = 0; i < n->rx_cnt; i++)
		n->rx[i].iov -= spans;
}

/* The rest of a packet that the chains at hand did not take: false when there is nowhere to put it. */
static bool rx_spill(struct net *n, size_t room, size_t len)
{
	unsigned spans = n->rx_spans;

	rx_fill(n);
	if (n->dev.broken || n->rx_room < len)
		return false;
	(void)iov_write(n->rx_iov + spans, n->rx_spans - spans, 0, n->bounce, len - room);
	return true;
}

/* Hands the driver a packet of @len bytes that lies in the chains from the first on. */
static void rx_push(struct net *n, size_t len)
{
	struct vq *q = &n->dev.vq[RX_Q];
	unsigned cnt = 0;
	size_t left = len;
	le16_t buffers;

	while (left) {
		left -= MIN(left, n->rx[cnt].in_len);
		cnt++;
	}
	buffers = le16_of((uint16_t)cnt);
	(void)iov_write(n->rx_iov, n->rx_spans, HDR_BUFFERS, &buffers, sizeof(buffers));
	for (unsigned i = 0; i < cnt; i++) {
		size_t part = MIN(len, n->rx[i].in_len);

		vq_push(q, n->rx[i].head, (uint32_t)part);
		len -= part;
	}
	rx_consume(n, cnt);
	n->rx_packets++;
}

/* One packet. 0, -EAGAIN (none there), -ENOBUFS (no chain), other errors of the tap. */
static int rx_one(struct net *n)
{
	struct iovec *tail;
	size_t room;
	ssize_t got;

	rx_fill(n);
	if (!n->rx_cnt || n->dev.broken)
		return -ENOBUFS;
	room = n->rx_room;
	tail = &n->rx_iov[n->rx_spans]; /* rx_fill() overwrites it afterwards */
	*tail = (struct iovec){n->bounce, PACKET_MAX};
	got = readv(n->fd, n->rx_iov, (int)n->rx_spans + 1);
	if (got < 0)
		return -errno;
	if (got < (ssize_t)PACKET_MIN || ((size_t)got > room && !rx_spill(n, room, (size_t)got))) {
		n->rx_dropped++;
		return n->dev.broken ? -ENOBUFS : 0;
	}
	rx_push(n, (size_t)got);
	return 0;
}

static void rx_run(struct net *n)
{
	struct vq *q = &n->dev.vq[RX_Q];
	int rc = 0;

	if (n->rx_poll.busy || n->rx_dead || n->draining)
		return;
	vq_kicks_off(q);
	for (unsigned i = 0; i < BUDGET && rc == 0; i++) {
		rc = rx_one(n);
		if (rc == -ENOBUFS && vq_kicks_on(q))
			rc = 0; /* a chain came in between */
		if (rc == -EINTR)
			rc = 0;
	}
	vq_notify(q);
	if (rc == -ENOBUFS)
		return; /* the next kick goes on */
	if (rc == 0 || rc == -EAGAIN) {
		loop_poll(n->dev.loop, &n->rx_poll, n->fd, POLLIN);
		return;
	}
	log_limited(&n->dev.log, LOG_LVL_WARN, "%s: reading the tap: %s", n->dev.name,
		    strerror(-rc));
	n->rx_dead = true;
	virtio_cfg_update(&n->dev, link_down, NULL);
}

static void rx_ready(struct loop_op *op, int res, unsigned flags)
{
	struct net *n = container_of(op, struct net, rx_poll);

	(void)res;
	(void)flags;
	if (n->draining)
		drained_maybe(n);
	else
		rx_run(n);
}

/* ---- sending ---------------------------------------------------------------------------------------- */

/* False when the tap is full. */
static bool tx_one(struct net *n)
{
	struct vq_chain *c = &n->tx;
	ssize_t rc = -EINVAL;

	if (c->out_len >= PACKET_MIN && c->out_len <= PACKET_MAX && !c->in_cnt) {
		do
			rc = writev(n->fd, vq_out(c), (int)c->out_cnt);
		while (rc < 0 && errno == EINTR);
		if (rc < 0)
			rc = -errno;
	}
	if (rc == -EAGAIN)
		return false;
	if (rc < 0)
		n->tx_dropped++;
	else
		n->tx_packets++;
	n->tx_held = false;
	vq_push(&n->dev.vq[TX_Q], c->head, 0);
	return true;
}

static bool tx_take(struct net *n)
{
	n->tx = (struct vq_chain){.iov = n->tx_iov, .cap = ARRAY_LEN(n->tx_iov)};
	n->tx_held = vq_pop(&n->dev.vq[TX_Q], &n->tx) > 0;
	return n->tx_held;
}

static void tx_run(struct net *n)
{
	struct vq *q = &n->dev.vq[TX_Q];
	unsigned budget = BUDGET;

	if (n->tx_poll.busy || n->draining)
		return;
	do {
		vq_kicks_off(q);
		while (n->tx_held || tx_take(n)) {
			if (!tx_one(n)) {
				vq_notify(q);
				loop_poll(n->dev.loop, &n->tx_poll, n->fd, POLLOUT);
				return;
			}
			if (!--budget) {
				vq_notify(q);
				loop_post(n->dev.loop, &n->more_tx);
				return;
			}
		}
	} while (vq_kicks_on(q));
	vq_notify(q);
}

static void tx_ready(struct loop_op *op, int res, unsigned flags)
{
	struct net *n = container_of(op, struct net, tx_poll);

	(void)flags;
	if (n->draining) {
		drained_maybe(n);
		return;
	}
	/* A tap that only reports errors would be polled for ever. */
	if (res < 0 || (res & POLLERR)) {
		n->tx_dropped++;
		n->tx_held = false;
		vq_push(&n->dev.vq[TX_Q], n->tx.head, 0);
	}
	tx_run(n);
}

static void tx_more(struct loop_work *w)
{
	struct net *n = container_of(w, struct net, more_tx);

	if (n->draining)
		drained_maybe(n);
	else if (n->dev.running)
		tx_run(n);
}

/* ---- device ----------------------------------------------------------------------------------------- */

static int net_start(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);
	unsigned off = 0;

	n->rx_cnt = n->rx_spans = 0;
	n->rx_room = 0;
	n->tx_held = false;
	if (dev->features & F_GUEST_CSUM) {
		off |= virtio_has(dev, F_GUEST_CSUM) ? TUN_F_CSUM : 0;
		if (off && virtio_has(dev, F_GUEST_TSO4))
			off |= TUN_F_TSO4;
		if (off && virtio_has(dev, F_GUEST_TSO6))
			off |= TUN_F_TSO6;
		if ((off & (TUN_F_TSO4 | TUN_F_TSO6)) && virtio_has(dev, F_GUEST_ECN))
			off |= TUN_F_TSO_ECN;
		if (ioctl(n->fd, TUNSETOFFLOAD, off) < 0)
			return -errno;
	}
	return 0;
}

static void net_kick(struct virtio_dev *dev, struct vq *q)
{
	if (q->idx == RX_Q)
		rx_run(net_of(dev));
	else
		tx_run(net_of(dev));
}

static void net_stop(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);

	n->draining = true;
	loop_cancel(dev->loop, &n->rx_poll);
	loop_cancel(dev->loop, &n->tx_poll);
	drained_maybe(n);
}

static void net_free(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);

	fd_close(&n->fd);
	free(n->bounce);
	virtio_fini(dev);
	free(n);
}

static const struct virtio_ops net_ops = {
    .name = "net",
    .id = VIRTIO_ID_NET,
    .start = net_start,
    .kick = net_kick,
    .stop = net_stop,
    .free = net_free,
};

/* What the tap can do; a descriptor that is no tap (a test's socket) carries plain packets only. */
static int probe_tap(struct net *n, const char *name, uint64_t *features, struct err *e)
{
	struct ifreq ifr = {0};
	int len = HDR_LEN;

	if (ioctl(n->fd, TUNGETIFF, &ifr) < 0)
		return 0;
	if (!(ifr.ifr_flags & IFF_VNET_HDR) || !(ifr.ifr_flags & IFF_NO_PI) ||
	    !(ifr.ifr_flags & IFF_TAP))
		return err_set(e, -EINVAL,
			       "nic %s: '%.*s' is not a tap with IFF_NO_PI and IFF_VNET_HDR", name,
			       IFNAMSIZ, ifr.ifr_name);
	if (ioctl(n->fd, TUNSETVNETHDRSZ, &len) < 0)
		return err_sys(e, -errno, "nic %s: setting the header's size", name);
	if (ioctl(n->fd, TUNSETOFFLOAD, TUN_OFFLOADS) == 0) {
		*features |= F_OFFLOADS;
		(void)ioctl(n->fd, TUNSETOFFLOAD, 0); /* until the driver says what it takes */
	}
	return 0;
}

static int net_setup(struct net *n, const char *name, const struct net_config *cfg, struct err *e)
{
	const uint16_t num[2] = {QUEUE_NUM, QUEUE_NUM};
	uint64_t features = F_MAC | F_STATUS | F_MRG_RXBUF | (cfg->mtu ? F_MTU : 0);
	struct cfg_wire w = {
	    .status = le16_of(STATUS_LINK_UP), .max_pairs = le16_of(1), .mtu = le16_of(cfg->mtu)};
	int rc;

	/* 5.1.4: at least 68; and a multicast address is nobody's own. */
	if (cfg->mtu && cfg->mtu < 68)
		return err_set(e, -EINVAL, "nic %s: an MTU of %u", name, cfg->mtu);
	if (cfg->mac[0] & 1)
		return err_set(e, -EINVAL, "nic %s: a multicast MAC address", name);
	rc = fd_set_nonblock(n->fd, 1);
	if (rc < 0)
		return err_sys(e, rc, "nic %s", name);
	rc = probe_tap(n, name, &features, e);
	if (rc < 0)
		return rc;
	n->bounce = malloc(PACKET_MAX);
	if (!n->bounce)
		return err_set(e, -ENOMEM, "nic %s: out of memory", name);
	memcpy(w.mac, cfg->mac, sizeof(w.mac));
	rc = virtio_init(&n->dev, &net_ops, name, features, 2, num, sizeof(w));
	if (rc < 0)
		return err_sys(e, rc, "nic %s", name);
	memcpy(n->dev.cfg, &w, sizeof(w));
	return 0;
}

int net_new(struct virtio_dev **ret, const char *name, const struct net_config *cfg, struct err *e)
{
	struct net *n = calloc(1, sizeof(*n));
	int rc;

	if (!n) {
		int fd = cfg->tap_fd;

		fd_close(&fd);
		return err_set(e, -ENOMEM, "nic %s: out of memory", name);
	}
	n->fd = cfg->tap_fd;
	n->rx_poll.done = rx_ready;
	n->rx_poll.what = "net receive";
	n->tx_poll.done = tx_ready;
	n->tx_poll.what = "net send";
	n->more_tx.fn = tx_more;
	rc = net_setup(n, name, cfg, e);
	if (rc < 0) {
		fd_close(&n->fd);
		free(n->bounce);
		free(n);
		return rc;
	}
	*ret = &n->dev;
	return 0;
}
