/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control queue of virtio-net (virtio 1.2, 5.1.6.5) and what it sets: the filter of received packets, the
 * MAC address, how many pairs of queues are in use, the offloads that the guest takes. Loop thread.
 *
 * A command is answered with OK or ERR; one that makes no sense changes nothing. A chain that has no room
 * for the answer is the driver's fault and fails the device.
 */
#include <errno.h>
#include <string.h>

#include "virtio/net_priv.h"

#define CTRL_SPANS 32u

enum { ACK_OK = 0, ACK_ERR = 1 };
enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_MQ = 4, CLASS_OFFLOADS = 5 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1 };

struct cmd_wire {
	uint8_t class, command;
};
_Static_assert(sizeof(struct cmd_wire) == 2, "virtio 1.2, 5.1.6.5");

/* ---- the filter ------------------------------------------------------------------------------------- */

bool net_accepts(const struct net *n, const uint8_t dst[6])
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const struct net_filter *f = &n->filter;
	bool multi = dst[0] & 1;

	if (f->promisc)
		return true;
	if (multi && !memcmp(dst, broadcast, sizeof(broadcast)))
		return !f->nobcast;
	if (multi ? f->nomulti : f->nouni)
		return false;
	if (f->over[multi] || (multi ? f->allmulti : f->alluni))
		return true;
	if (!multi && !memcmp(dst, n->mac, sizeof(n->mac)))
		return true;
	for (unsigned i = 0; i < f->cnt[multi]; i++)
		if (!memcmp(dst, f->mac[multi][i], 6))
			return true;
	return false;
}

static bool set_rx_mode(struct net *n, uint8_t command, const struct iovec *iov, unsigned cnt)
{
	struct net_filter *f = &n->filter;
	bool *const mode[] = {&f->promisc, &f->allmulti, &f->alluni,
			      &f->nomulti, &f->nouni,	 &f->nobcast};
	uint64_t need = command < 2 ? NET_F_CTRL_RX : NET_F_CTRL_RX_EXTRA;
	uint8_t on;

	if (command >= ARRAY_LEN(mode) || !virtio_has(&n->dev, need) ||
	    iov_read(iov, cnt, 0, &on, 1) != 1 || on > 1)
		return false;
	*mode[command] = on;
	return true;
}

/* One of the two tables at @off; its length, or 0 when it is cut off. */
static size_t read_table(const struct iovec *iov, unsigned cnt, size_t off, unsigned *ret_cnt,
			 bool *over, uint8_t mac[NET_MACS_MAX][6])
{
	size_t left = iov_len(iov, cnt) - off, bytes;
	le32_t w;
	uint32_t entries;

	if (left < sizeof(w))
		return 0;
	(void)iov_read(iov, cnt, off, &w, sizeof(w));
	entries = le32_get(w);
	if (entries > (left - sizeof(w)) / 6)
		return 0;
	bytes = (size_t)entries * 6;
	*over = entries > NET_MACS_MAX;
	*ret_cnt = *over ? 0 : entries;
	(void)iov_read(iov, cnt, off + sizeof(w), mac, *over ? 0 : bytes);
	return sizeof(w) + bytes;
}

static bool set_table(struct net *n, const struct iovec *iov, unsigned cnt)
{
	struct net_filter f = n->filter;
	size_t off = 0;

	if (!virtio_has(&n->dev, NET_F_CTRL_RX))
		return false;
	for (unsigned kind = 0; kind < 2; kind++) {
		size_t len = read_table(iov, cnt, off, &f.cnt[kind], &f.over[kind], f.mac[kind]);

		if (!len)
			return false;
		off += len;
	}
	n->filter = f;
	return true;
}

static bool set_addr(struct net *n, const struct iovec *iov, unsigned cnt)
{
	uint8_t mac[6];

	if (!virtio_has(&n->dev, NET_F_CTRL_MAC) || iov_len(iov, cnt) != sizeof(mac))
		return false;
	(void)iov_read(iov, cnt, 0, mac, sizeof(mac));
	if (mac[0] & 1)
		return false;
	net_set_mac(n, mac);
	return true;
}

/* ---- pairs and offloads ----------------------------------------------------------------------------- */

static bool set_pairs(struct net *n, uint8_t command, const struct iovec *iov, unsigned cnt)
{
	unsigned was = n->pairs_on, pairs;
	le16_t w;

	if (!virtio_has(&n->dev, NET_F_MQ) || command != 0 ||
	    iov_read(iov, cnt, 0, &w, sizeof(w)) != sizeof(w))
		return false;
	pairs = le16_get(w);
	if (pairs < 1 || pairs > n->pair_cnt || net_set_pairs(n, pairs) < 0)
		return false;
	for (unsigned i = was; i < pairs; i++)
		net_rx_run(&n->pair[i]);
	return true;
}

static bool set_offloads(struct net *n, uint8_t command, const struct iovec *iov, unsigned cnt)
{
	uint64_t all = n->dev.acked & NET_GUEST_OFFLOADS;
	le64_t w;

	if (!virtio_has(&n->dev, NET_F_GUEST_OFFLOADS) || command != 0 ||
	    iov_read(iov, cnt, 0, &w, sizeof(w)) != sizeof(w))
		return false;
	return !(le64_get(w) & ~all) && net_set_offloads(n, le64_get(w)) == 0;
}

/* ---- the queue -------------------------------------------------------------------------------------- */

static bool command(struct net *n, const struct vq_chain *c)
{
	struct iovec data[CTRL_SPANS];
	struct cmd_wire w;
	unsigned cnt;
	size_t len;

	if (iov_read(vq_out(c), c->out_cnt, 0, &w, sizeof(w)) != sizeof(w))
		return false;
	cnt = iov_slice(vq_out(c), c->out_cnt, sizeof(w), c->out_len, data, ARRAY_LEN(data), &len);
	switch (w.class) {
	case CLASS_RX:
		return set_rx_mode(n, w.command, data, cnt);
	case CLASS_MAC:
		if (w.command == MAC_TABLE_SET)
			return set_table(n, data, cnt);
		return w.command == MAC_ADDR_SET && set_addr(n, data, cnt);
	case CLASS_MQ:
		return set_pairs(n, w.command, data, cnt);
	case CLASS_OFFLOADS:
		return set_offloads(n, w.command, data, cnt);
	default:
		return false;
	}
}

void net_ctrl_run(struct net *n, struct vq *q)
{
	struct iovec iov[CTRL_SPANS];
	struct vq_chain c = {.iov = iov, .cap = ARRAY_LEN(iov)};

	while (vq_pop(q, &c) > 0) {
		uint8_t ack;

		if (!c.in_len) {
			virtio_fail(&n->dev, "a control command without room for its answer");
			vq_push(q, c.head, 0);
			return;
		}
		ack = command(n, &c) ? ACK_OK : ACK_ERR;
		(void)iov_write(vq_in(&c), c.in_cnt, 0, &ack, sizeof(ack));
		vq_push(q, c.head, sizeof(ack));
	}
	vq_notify(q);
}

/* ---- snapshots -------------------------------------------------------------------------------------- */

struct state_wire {
	le64_t offloads;
	uint8_t mac[6];
	le16_t pairs;
	uint8_t promisc, allmulti, alluni, nomulti, nouni, nobcast;
	uint8_t over[2], cnt[2];
	uint8_t table[2][NET_MACS_MAX][6];
};
_Static_assert(sizeof(struct state_wire) == 26 + 2 * 6 * NET_MACS_MAX, "no padding");

int net_ctrl_save(struct virtio_dev *dev, struct buf *to, struct err *e)
{
	const struct net *n = net_of(dev);
	const struct net_filter *f = &n->filter;
	struct state_wire w = {.offloads = le64_of(n->offloads),
			       .pairs = le16_of((uint16_t)n->pairs_on),
			       .promisc = f->promisc,
			       .allmulti = f->allmulti,
			       .alluni = f->alluni,
			       .nomulti = f->nomulti,
			       .nouni = f->nouni,
			       .nobcast = f->nobcast};

	(void)e;
	memcpy(w.mac, n->mac, sizeof(w.mac));
	for (unsigned kind = 0; kind < 2; kind++) {
		w.over[kind] = f->over[kind];
		w.cnt[kind] = (uint8_t)f->cnt[kind];
		memcpy(w.table[kind], f->mac[kind], f->cnt[kind] * 6ul);
	}
	return buf_append(to, &w, sizeof(w));
}

int net_ctrl_load(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e)
{
	struct net *n = net_of(dev);
	struct net_filter *f = &n->filter;
	struct state_wire w;
	int rc;

	if (len != sizeof(w))
		return err_set(e, -EPROTO, "%s: its saved state has a wrong length", dev->name);
	memcpy(&w, p, sizeof(w));
	if (!(dev->status & VIRTIO_S_DRIVER_OK))
		return 0; /* the driver has said nothing yet */
	if (w.cnt[0] > NET_MACS_MAX || w.cnt[1] > NET_MACS_MAX || (w.mac[0] & 1) ||
	    le16_get(w.pairs) < 1 || le16_get(w.pairs) > net_pairs(n) ||
	    (le64_get(w.offloads) & ~(dev->acked & NET_GUEST_OFFLOADS)))
		return err_set(e, -EINVAL, "%s: its saved state makes no sense", dev->name);
	*f = (struct net_filter){.promisc = w.promisc,
				 .allmulti = w.allmulti,
				 .alluni = w.alluni,
				 .nomulti = w.nomulti,
				 .nouni = w.nouni,
				 .nobcast = w.nobcast};
	for (unsigned kind = 0; kind < 2; kind++) {
		f->over[kind] = w.over[kind];
		f->cnt[kind] = w.cnt[kind];
		memcpy(f->mac[kind], w.table[kind], sizeof(f->mac[kind]));
	}
	net_set_mac(n, w.mac);
	rc = net_set_offloads(n, le64_get(w.offloads));
	if (rc == 0)
		rc = net_set_pairs(n, le16_get(w.pairs));
	return rc < 0 ? err_sys(e, rc, "%s: its saved state", dev->name) : 0;
}
