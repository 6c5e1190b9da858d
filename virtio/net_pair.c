/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pair of queues of virtio-net (virtio 1.2, 5.1.6): receiving and sending. Loop thread.
 *
 * Receiving: the length of a packet is known only when it has been read. So chains are taken in advance
 * until they hold the largest packet (mergeable buffers); those that a packet did not need wait for the
 * next one.
 *
 *	poll -> receive until EAGAIN or no chains -> one interrupt -> poll
 *	no chains -> kicks on -> kick
 *
 * Sending: one call per chain; when the other end is full its chain is held until there is room. What the
 * other end refuses is dropped and counted.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "virtio/net_priv.h"

#define BUDGET 256u /* packets before other devices get their turn */

/* ---- limits (net_rate.h) ---------------------------------------------------------------------------- */

/* Too fast: the timer goes on when the next packet may pass. */
static bool must_wait(struct net *n, const struct net_rate *r, struct loop_timer *t)
{
	uint64_t when = net_rate_on(r) ? net_rate_when(r) : 0;

	if (!when || when <= clock_ns())
		return false;
	loop_timer(n->dev.loop, t, when);
	return true;
}

/* @len with the header of the queues. */
static void spent(struct net_rate *r, size_t len)
{
	if (net_rate_on(r))
		net_rate_spend(r, len - NET_HDR_LEN, clock_ns());
}

/* ---- receiving -------------------------------------------------------------------------------------- */

unsigned net_rx_chains(const struct net *n)
{
	return virtio_has(&n->dev, NET_F_MRG_RXBUF) ? NET_CHAINS_MAX : 1;
}

void net_rx_fill(struct net_pair *p, size_t want)
{
	struct net *n = p->net;

	while (p->rx_cnt < net_rx_chains(n) && p->rx_room < want &&
	       p->rx_spans + NET_CHAIN_SPANS <= NET_SPANS) {
		struct vq_chain *c = &p->rx[p->rx_cnt];

		*c = (struct vq_chain){.iov = p->rx_iov + p->rx_spans, .cap = NET_CHAIN_SPANS};
		if (vq_pop(p->rq, c) <= 0)
			return;
		p->rx_cnt++;
		p->rx_spans += c->in_cnt;
		p->rx_room += c->in_len;
		if (c->out_cnt || c->in_len < NET_HDR_LEN) {
			virtio_fail(&n->dev, "a receive buffer of %zu bytes, %zu of them readable",
				    c->in_len, c->out_len);
			return;
		}
	}
}

/* Forgets the first @cnt chains, which have been pushed. */
static void rx_consume(struct net_pair *p, unsigned cnt)
{
	unsigned spans = 0;

	for (unsigned i = 0; i < cnt; i++) {
		spans += p->rx[i].in_cnt;
		p->rx_room -= p->rx[i].in_len;
	}
	p->rx_cnt -= cnt;
	p->rx_spans -= spans;
	memmove(p->rx, p->rx + cnt, p->rx_cnt * sizeof(p->rx[0]));
	memmove(p->rx_iov, p->rx_iov + spans, p->rx_spans * sizeof(p->rx_iov[0]));
	for (unsigned i = 0; i < p->rx_cnt; i++)
		p->rx[i].iov -= spans;
}

void net_rx_push(struct net_pair *p, size_t len)
{
	uint8_t dst[6] = {0};
	unsigned cnt = 0;
	size_t left = len;
	le16_t buffers;

	(void)iov_read(p->rx_iov, p->rx_spans, NET_HDR_LEN, dst, sizeof(dst));
	if (p->net->link_down || !net_accepts(p->net, dst)) {
		p->rx_filtered++;
		return; /* the chains take the next one */
	}
	spent(&p->net->rx_rate, len);
	while (left) {
		left -= MIN(left, p->rx[cnt].in_len);
		cnt++;
	}
	buffers = le16_of((uint16_t)cnt);
	(void)iov_write(p->rx_iov, p->rx_spans, NET_HDR_BUFFERS, &buffers, sizeof(buffers));
	for (unsigned i = 0; i < cnt; i++) {
		size_t part = MIN(len, p->rx[i].in_len);

		vq_push(p->rq, p->rx[i].head, (uint32_t)part);
		len -= part;
	}
	rx_consume(p, cnt);
	p->rx_packets++;
}

void net_rx_run(struct net_pair *p)
{
	struct net *n = p->net;
	int rc = 0;

	if (!p->on || p->rx_poll.busy || p->rx_wait.op.busy || n->dead || n->draining)
		return;
	vq_kicks_off(p->rq);
	for (unsigned i = 0; i < BUDGET && rc == 0; i++) {
		if (must_wait(n, &n->rx_rate, &p->rx_wait)) {
			vq_notify(p->rq);
			return;
		}
		rc = n->end->recv(p);
		if (rc == -ENOBUFS && vq_kicks_on(p->rq))
			rc = 0; /* a chain came in between */
		if (rc == -EINTR)
			rc = 0;
	}
	vq_notify(p->rq);
	if (rc == -ENOBUFS)
		return; /* the next kick goes on */
	if (rc == 0)
		loop_post(n->dev.loop, &p->more_rx);
	else if (rc == -EAGAIN)
		loop_poll(n->dev.loop, &p->rx_poll, p->fd, POLLIN);
	else
		net_end_failed(n, rc);
}

static void rx_ready(struct loop_op *op, int res, unsigned flags)
{
	struct net_pair *p = container_of(op, struct net_pair, rx_poll);

	(void)res;
	(void)flags;
	if (p->net->draining)
		net_drained_maybe(p->net);
	else if (p->net->dev.frozen)
		net_quiet_maybe(p->net);
	else
		net_rx_run(p);
}

static void rx_waited(struct loop_op *op, int res, unsigned flags)
{
	rx_ready(&container_of(op, struct net_pair, rx_wait.op)->rx_poll, res, flags);
}

static void rx_more(struct loop_work *w)
{
	struct net_pair *p = container_of(w, struct net_pair, more_rx);

	if (p->net->dev.running && !p->net->dev.frozen)
		net_rx_run(p);
}

/* ---- sending ---------------------------------------------------------------------------------------- */

static void tx_done(struct net_pair *p, bool sent)
{
	if (sent) {
		p->tx_packets++;
		spent(&p->net->tx_rate, p->tx.out_len);
	} else {
		p->tx_dropped++;
	}
	p->tx_held = false;
	vq_push(p->tq, p->tx.head, 0);
}

/* False when the other end is full. */
static bool tx_one(struct net_pair *p)
{
	struct vq_chain *c = &p->tx;
	int rc = -EINVAL;

	if (c->out_len >= NET_PACKET_MIN && c->out_len <= NET_PACKET_MAX && !c->in_cnt && p->on &&
	    !p->net->link_down && !p->net->dead)
		rc = p->net->end->send(p);
	if (rc == -EAGAIN)
		return false;
	tx_done(p, rc == 0);
	return true;
}

static bool tx_take(struct net_pair *p)
{
	p->tx = (struct vq_chain){.iov = p->tx_iov, .cap = ARRAY_LEN(p->tx_iov)};
	p->tx_held = vq_pop(p->tq, &p->tx) > 0;
	return p->tx_held;
}

/* What the other end has not taken yet of the packet before goes first. False: it waits for room. */
static bool tx_flushed(struct net_pair *p)
{
	struct net *n = p->net;

	if (n->dead || !n->end->flush || n->end->flush(p) != -EAGAIN)
		return true;
	loop_poll(n->dev.loop, &p->tx_poll, p->fd, POLLOUT);
	return false;
}

void net_tx_run(struct net_pair *p)
{
	struct net *n = p->net;
	unsigned budget = BUDGET;

	if (p->tx_poll.busy || p->tx_wait.op.busy || n->draining || !tx_flushed(p))
		return;
	do {
		vq_kicks_off(p->tq);
		while (p->tx_held || tx_take(p)) {
			if (must_wait(n, &n->tx_rate, &p->tx_wait)) {
				vq_notify(p->tq);
				return;
			}
			if (!tx_one(p)) {
				vq_notify(p->tq);
				loop_poll(n->dev.loop, &p->tx_poll, p->fd, POLLOUT);
				return;
			}
			if (!--budget) {
				vq_notify(p->tq);
				loop_post(n->dev.loop, &p->more_tx);
				return;
			}
		}
	} while (vq_kicks_on(p->tq));
	vq_notify(p->tq);
	(void)tx_flushed(p);
}

static void tx_ready(struct loop_op *op, int res, unsigned flags)
{
	struct net_pair *p = container_of(op, struct net_pair, tx_poll);

	(void)flags;
	if (p->net->draining) {
		net_drained_maybe(p->net);
		return;
	}
	if (p->net->dev.frozen) {
		net_quiet_maybe(p->net);
		return;
	}
	/* An end that only reports errors would be polled for ever. */
	if (p->tx_held && (res < 0 || (res & POLLERR)))
		tx_done(p, false);
	net_tx_run(p);
}

static void tx_waited(struct loop_op *op, int res, unsigned flags)
{
	(void)res; /* -ETIME */
	tx_ready(&container_of(op, struct net_pair, tx_wait.op)->tx_poll, 0, flags);
}

static void tx_more(struct loop_work *w)
{
	struct net_pair *p = container_of(w, struct net_pair, more_tx);

	if (p->net->dev.running && !p->net->dev.frozen)
		net_tx_run(p);
}

/* ---- life ------------------------------------------------------------------------------------------- */

void net_pair_init(struct net_pair *p, struct net *n, unsigned idx, int fd)
{
	p->net = n;
	p->idx = idx;
	p->fd = fd;
	p->attached = true;
	p->rx_poll.done = rx_ready;
	p->rx_poll.what = "net receive";
	p->tx_poll.done = tx_ready;
	p->tx_poll.what = "net send";
	p->rx_wait.op.done = rx_waited;
	p->rx_wait.op.what = "net receive limit";
	p->tx_wait.op.done = tx_waited;
	p->tx_wait.op.what = "net send limit";
	p->more_rx.fn = rx_more;
	p->more_tx.fn = tx_more;
}

void net_pair_stop(struct net_pair *p)
{
	struct loop *l = p->net->dev.loop;

	loop_cancel(l, &p->rx_poll);
	loop_cancel(l, &p->tx_poll);
	loop_cancel(l, &p->rx_wait.op);
	loop_cancel(l, &p->tx_wait.op);
	loop_unpost(l, &p->more_rx);
	loop_unpost(l, &p->more_tx);
}

void net_pair_reset(struct net_pair *p)
{
	p->rx_cnt = p->rx_spans = 0;
	p->rx_room = 0;
	p->tx_held = false;
}

void net_pair_unpop(struct net_pair *p)
{
	while (p->rx_cnt)
		vq_unpop(p->rq, &p->rx[--p->rx_cnt]);
	p->rx_spans = 0;
	p->rx_room = 0;
	if (p->tx_held)
		vq_unpop(p->tq, &p->tx);
	p->tx_held = false;
}
