/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2, section 5.1): one or more pairs of receive and transmit queues and a control
 * queue. Loop thread.
 *
 *	net.c		the device: features, configuration, start and stop, link
 *	net_pair.c	receiving and sending of a pair
 *	net_ctrl.c	the control queue: filter, address, number of pairs, offloads; saving it
 *	net_tap.c	a tap as the other end; net_stream.c: a stream socket (passt)
 *
 * Queues: 2 i and 2 i + 1 are receiving and sending of pair i; the control queue follows the pairs that the
 * driver knows of: it is queue 2 for a driver without VIRTIO_NET_F_MQ. After a reset one pair is in use.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "virtio/net_priv.h"

#define QUEUE_NUM 256u
#define CTRL_NUM  64u

/* ---- standing still --------------------------------------------------------------------------------- */

static bool all_idle(const struct net *n)
{
	for (unsigned i = 0; i < n->pair_cnt; i++)
		if (!net_pair_idle(&n->pair[i]))
			return false;
	return true;
}

static void stop_pairs(struct net *n)
{
	for (unsigned i = 0; i < n->pair_cnt; i++)
		net_pair_stop(&n->pair[i]);
}

/* Frozen and no poll left: what was taken in advance goes back, the last one first. */
void net_quiet_maybe(struct net *n)
{
	if (!all_idle(n))
		return;
	for (unsigned i = 0; i < n->pair_cnt; i++)
		net_pair_unpop(&n->pair[i]);
	virtio_quiet(&n->dev);
}

void net_drained_maybe(struct net *n)
{
	if (!n->draining || !all_idle(n))
		return;
	n->draining = false;
	virtio_stopped(&n->dev); /* may be the end of n */
}

/* ---- configuration ---------------------------------------------------------------------------------- */

static void show_link(struct virtio_dev *dev, void *arg)
{
	const struct net *n = net_of(dev);
	struct net_cfg_wire w;

	(void)arg;
	memcpy(&w, dev->cfg, sizeof(w));
	w.status = le16_of(n->link_down || n->dead ? 0 : NET_LINK_UP);
	memcpy(dev->cfg, &w, sizeof(w));
}

void net_end_failed(struct net *n, int rc)
{
	log_limited(&n->dev.log, LOG_LVL_WARN, "%s: the other end: %s", n->dev.name,
		    rc == -EPIPE ? "closed" : strerror(-rc));
	n->dead = true;
	virtio_cfg_update(&n->dev, show_link, NULL);
}

int net_set_link(struct virtio_dev *dev, bool up)
{
	struct net *n = net_of(dev);

	if (up && n->dead)
		return -EPIPE;
	if (n->link_down == !up)
		return 0;
	n->link_down = !up;
	virtio_cfg_update(dev, show_link, NULL);
	return 0;
}

static void show_mac(struct virtio_dev *dev, void *arg)
{
	memcpy(dev->cfg, arg, sizeof(((struct net *)0)->mac));
}

void net_set_mac(struct net *n, const uint8_t mac[6])
{
	memcpy(n->mac, mac, sizeof(n->mac));
	virtio_cfg_quiet_update(&n->dev, show_mac, n->mac);
}

int net_set_pairs(struct net *n, unsigned cnt)
{
	for (unsigned i = 0; i < n->pair_cnt; i++) {
		int rc = n->end->enable ? n->end->enable(&n->pair[i], i < cnt) : 0;

		if (rc == 0)
			continue;
		while (i--) /* what has worked a moment ago works back */
			(void)n->end->enable(&n->pair[i], i < n->pairs_on);
		return rc;
	}
	n->pairs_on = cnt;
	for (unsigned i = 0; i < n->pair_cnt; i++) {
		n->pair[i].on = i < cnt;
		if (i >= cnt)
			loop_cancel(n->dev.loop, &n->pair[i].rx_poll);
	}
	return 0;
}

int net_set_offloads(struct net *n, uint64_t offloads)
{
	int rc = n->end->offload ? n->end->offload(n, offloads) : 0;

	if (rc == 0)
		n->offloads = offloads;
	return rc;
}

/* ---- device ----------------------------------------------------------------------------------------- */

static int net_start(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);
	int rc;

	for (unsigned i = 0; i < n->pair_cnt; i++)
		net_pair_reset(&n->pair[i]);
	/* All is let through until the driver says what it wants. */
	n->filter = (struct net_filter){.promisc = true};
	rc = net_set_offloads(n, dev->acked & NET_GUEST_OFFLOADS);
	return rc < 0 ? rc : net_set_pairs(n, 1);
}

static void net_kick(struct virtio_dev *dev, struct vq *q)
{
	struct net *n = net_of(dev);
	unsigned pairs = net_pairs(n);

	if (q->idx == 2 * pairs && virtio_has(dev, NET_F_CTRL_VQ))
		net_ctrl_run(n, q);
	else if (q->idx < 2 * pairs && q->idx % 2 == 0)
		net_rx_run(&n->pair[q->idx / 2]);
	else if (q->idx < 2 * pairs)
		net_tx_run(&n->pair[q->idx / 2]);
}

static void net_stop(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);

	net_set_mac(n, n->own_mac);
	n->draining = true;
	stop_pairs(n);
	net_drained_maybe(n);
}

static void net_freeze(struct virtio_dev *dev)
{
	stop_pairs(net_of(dev));
	net_quiet_maybe(net_of(dev));
}

static void close_pairs(struct net *n)
{
	for (unsigned i = 0; n->pair && i < n->pair_cnt; i++) {
		fd_close(&n->pair[i].fd);
		free(n->pair[i].bounce);
	}
	free(n->pair);
	net_stream_free(n);
}

static void net_free(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);

	close_pairs(n);
	virtio_fini(dev);
	free(n);
}

static void net_counters(struct virtio_dev *dev,
			 void (*tell)(void *ctx, const char *name, uint64_t v), void *ctx)
{
	const struct net *n = net_of(dev);

	for (unsigned i = 0; i < n->pair_cnt; i++) { /* the same names are summed up */
		tell(ctx, "rx-packets", n->pair[i].rx_packets);
		tell(ctx, "tx-packets", n->pair[i].tx_packets);
		tell(ctx, "rx-dropped", n->pair[i].rx_dropped);
		tell(ctx, "rx-filtered", n->pair[i].rx_filtered);
		tell(ctx, "tx-dropped", n->pair[i].tx_dropped);
	}
	tell(ctx, "queue-pairs", n->pairs_on);
}

static const struct virtio_ops net_ops = {
    .name = "net",
    .id = VIRTIO_ID_NET,
    .start = net_start,
    .kick = net_kick,
    .stop = net_stop,
    .freeze = net_freeze,
    .save_version = 1,
    .save = net_ctrl_save,
    .load = net_ctrl_load,
    .counters = net_counters,
    .free = net_free,
};

/* ---- making it -------------------------------------------------------------------------------------- */

static int make_pairs(struct net *n, const struct net_config *cfg, const char *name, struct err *e)
{
	n->pair = calloc(n->pair_cnt, sizeof(*n->pair));
	if (!n->pair)
		return err_set(e, -ENOMEM, "nic %s: out of memory", name);
	for (unsigned i = 0; i < n->pair_cnt; i++)
		net_pair_init(&n->pair[i], n, i, cfg->fd[i]);
	for (unsigned i = 0; i < n->pair_cnt; i++) {
		int rc = fd_set_nonblock(n->pair[i].fd, 1);

		if (rc < 0)
			return err_sys(e, rc, "nic %s", name);
		if (!cfg->stream)
			n->pair[i].bounce = malloc(NET_PACKET_MAX);
		if (!cfg->stream && !n->pair[i].bounce)
			return err_set(e, -ENOMEM, "nic %s: out of memory", name);
	}
	return 0;
}

static int net_setup(struct net *n, const char *name, const struct net_config *cfg, struct err *e)
{
	uint16_t num[2 * NET_QUEUES_MAX + 1];
	uint64_t features = NET_F_MAC | NET_F_STATUS | NET_F_MRG_RXBUF | NET_F_CTRL_VQ |
			    NET_F_CTRL_MAC | (cfg->mtu ? NET_F_MTU : 0) |
			    (n->pair_cnt > 1 ? NET_F_MQ : 0) |
			    (cfg->filter ? NET_F_CTRL_RX | NET_F_CTRL_RX_EXTRA : 0);
	struct net_cfg_wire w = {.status = le16_of(NET_LINK_UP),
				 .max_pairs = le16_of((uint16_t)n->pair_cnt),
				 .mtu = le16_of(cfg->mtu)};
	int rc = n->end->probe(n, name, &features, e);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < 2 * n->pair_cnt; i++)
		num[i] = QUEUE_NUM;
	num[2 * n->pair_cnt] = CTRL_NUM;
	memcpy(w.mac, cfg->mac, sizeof(w.mac));
	memcpy(n->mac, cfg->mac, sizeof(n->mac));
	memcpy(n->own_mac, cfg->mac, sizeof(n->own_mac));
	rc = virtio_init(&n->dev, &net_ops, name, features, 2 * n->pair_cnt + 1, num, sizeof(w));
	if (rc < 0)
		return err_sys(e, rc, "nic %s", name);
	memcpy(n->dev.cfg, &w, sizeof(w));
	for (unsigned i = 0; i < n->pair_cnt; i++) {
		n->pair[i].rq = &n->dev.vq[2 * i];
		n->pair[i].tq = &n->dev.vq[2 * i + 1];
	}
	return 0;
}

static int check(const struct net_config *cfg, const char *name, struct err *e)
{
	if (cfg->queues > NET_QUEUES_MAX)
		return err_set(e, -EINVAL, "nic %s: %u queues, at most %u are possible", name,
			       cfg->queues, NET_QUEUES_MAX);
	/* 5.1.4: at least 68; and a multicast address is nobody's own. */
	if (cfg->mtu && cfg->mtu < 68)
		return err_set(e, -EINVAL, "nic %s: an MTU of %u", name, cfg->mtu);
	if (cfg->mac[0] & 1)
		return err_set(e, -EINVAL, "nic %s: a multicast MAC address", name);
	return 0;
}

int net_new(struct virtio_dev **ret, const char *name, const struct net_config *cfg, struct err *e)
{
	struct net *n = calloc(1, sizeof(*n));
	int rc = n ? check(cfg, name, e) : err_set(e, -ENOMEM, "nic %s: out of memory", name);

	if (rc == 0) {
		n->end = cfg->stream ? &net_stream_end : &net_tap_end;
		n->pair_cnt = MAX(cfg->queues, 1u);
		n->pairs_on = 1;
		n->rx_rate.limit = cfg->rx;
		n->tx_rate.limit = cfg->tx;
		rc = make_pairs(n, cfg, name, e);
		if (rc == 0)
			rc = net_setup(n, name, cfg, e);
	}
	if (rc == 0) {
		*ret = &n->dev;
		return 0;
	}
	if (n && n->pair) {
		close_pairs(n);
	} else {
		for (unsigned i = 0; i < MIN(MAX(cfg->queues, 1u), NET_QUEUES_MAX); i++) {
			int fd = cfg->fd[i];

			fd_close(&fd);
		}
	}
	free(n);
	return rc;
}
