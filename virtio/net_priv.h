/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of virtio-net, shared by net.c (the device), net_pair.c (receiving and sending), net_tap.c
 * and net_stream.c (the two kinds of other ends) and net_ctrl.c (the control queue). Loop thread.
 */
#ifndef HUSK_VIRTIO_NET_PRIV_H
#define HUSK_VIRTIO_NET_PRIV_H

#include "base/endian.h"
#include "virtio/devices.h"
#include "virtio/net_rate.h"

#define NET_HDR_LEN	12u			      /* struct virtio_net_hdr_v1 */
#define NET_HDR_BUFFERS 10u			      /* offset of num_buffers in it */
#define NET_FRAME_MIN	14u			      /* an Ethernet header */
#define NET_FRAME_MAX	65550u			      /* 64 KiB of IP behind one */
#define NET_PACKET_MAX	(NET_HDR_LEN + NET_FRAME_MAX) /* with the header of the queues */
#define NET_PACKET_MIN	(NET_HDR_LEN + NET_FRAME_MIN)
#define NET_CHAINS_MAX	64u /* of one received packet */
#define NET_CHAIN_SPANS 128u
#define NET_SPANS	512u
#define NET_MACS_MAX	64u /* of the filter, of either kind */

/* 5.1.3; the last three are of 1.3. */
#define NET_F_CSUM	     (1ull << 0)
#define NET_F_GUEST_CSUM     (1ull << 1)
#define NET_F_GUEST_OFFLOADS (1ull << 2) /* may be changed by the control queue */
#define NET_F_MTU	     (1ull << 3)
#define NET_F_MAC	     (1ull << 5)
#define NET_F_GUEST_TSO4     (1ull << 7)
#define NET_F_GUEST_TSO6     (1ull << 8)
#define NET_F_GUEST_ECN	     (1ull << 9)
#define NET_F_GUEST_UFO	     (1ull << 10)
#define NET_F_HOST_TSO4	     (1ull << 11)
#define NET_F_HOST_TSO6	     (1ull << 12)
#define NET_F_HOST_ECN	     (1ull << 13)
#define NET_F_HOST_UFO	     (1ull << 14)
#define NET_F_MRG_RXBUF	     (1ull << 15)
#define NET_F_STATUS	     (1ull << 16)
#define NET_F_CTRL_VQ	     (1ull << 17)
#define NET_F_CTRL_RX	     (1ull << 18)
#define NET_F_CTRL_RX_EXTRA  (1ull << 20)
#define NET_F_MQ	     (1ull << 22)
#define NET_F_CTRL_MAC	     (1ull << 23)
#define NET_F_GUEST_USO4     (1ull << 54)
#define NET_F_GUEST_USO6     (1ull << 55)
#define NET_F_HOST_USO	     (1ull << 56)

/* What the guest takes; what may be switched on and off while it runs. */
#define NET_GUEST_OFFLOADS                                                                         \
	(NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN |                \
	 NET_F_GUEST_UFO | NET_F_GUEST_USO4 | NET_F_GUEST_USO6)

#define NET_LINK_UP 1u

struct net_cfg_wire {
	uint8_t mac[6];
	le16_t status, max_pairs, mtu;
};
_Static_assert(sizeof(struct net_cfg_wire) == 12, "virtio 1.2, 5.1.4");

struct net;
struct net_stream;

struct net_pair {
	struct net *net;
	unsigned idx;
	int fd;
	bool on;       /* in use: the driver's choice */
	bool attached; /* the tap hands packets to this queue */
	struct vq *rq, *tq;
	struct loop_work more_rx, more_tx;

	/* Receiving: chains taken, oldest first; their spans lie in rx_iov one after the other. */
	struct loop_op rx_poll;
	struct loop_timer rx_wait; /* until the next packet may pass */
	struct vq_chain rx[NET_CHAINS_MAX];
	unsigned rx_cnt, rx_spans;
	size_t rx_room;
	struct iovec rx_iov[NET_SPANS + 1]; /* and the bounce buffer */
	uint8_t *bounce;		    /* NET_PACKET_MAX bytes, touched when a packet spills */

	/* Sending. */
	struct loop_op tx_poll;
	struct loop_timer tx_wait;
	bool tx_held;
	struct vq_chain tx;
	struct iovec tx_iov[NET_CHAIN_SPANS];

	uint64_t rx_packets, tx_packets, rx_dropped, rx_filtered, tx_dropped;
};

/* The other end. recv() puts one packet into the chains of @p; send() takes one out of p->tx. */
struct net_end {
	/* What it can do, before the device exists. */
	int (*probe)(struct net *n, const char *name, uint64_t *features, struct err *e);
	/* 0, -EAGAIN (none there), -ENOBUFS (no chain), other errors: the end has failed. */
	int (*recv)(struct net_pair *p);
	/* 0, -EAGAIN (full), other errors: this packet cannot be sent. */
	int (*send)(struct net_pair *p);
	/* The rest of what send() could not bring out: 0, -EAGAIN (full), other errors. Optional. */
	int (*flush)(struct net_pair *p);
	/* Optional, both. */
	int (*offload)(struct net *n, uint64_t features); /* what of NET_GUEST_OFFLOADS is on */
	int (*enable)(struct net_pair *p, bool on);
};
extern const struct net_end net_tap_end, net_stream_end;

struct net_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool over[2];	 /* the table of this kind was too long: everything of it is let through */
	unsigned cnt[2]; /* 0 unicast, 1 multicast */
	uint8_t mac[2][NET_MACS_MAX][6];
};

struct net {
	struct virtio_dev dev; /* first */
	const struct net_end *end;
	struct net_stream *stream;
	bool is_tap; /* tests have sockets in its place */
	unsigned pair_cnt;
	struct net_pair *pair;
	uint8_t own_mac[6]; /* as it was made */
	uint8_t mac[6];	    /* as the driver wants it */
	bool link_down;	    /* net_set_link() */
	bool dead;	    /* the other end has failed */
	bool draining;
	unsigned pairs_on;
	uint64_t offloads; /* of NET_GUEST_OFFLOADS */
	struct net_filter filter;
	struct net_rate rx_rate, tx_rate;
};

static inline struct net *net_of(struct virtio_dev *dev)
{
	return container_of(dev, struct net, dev);
}

/* The pairs that the driver may use. */
static inline unsigned net_pairs(const struct net *n)
{
	return virtio_has(&n->dev, NET_F_MQ) ? n->pair_cnt : 1;
}

/* net.c */
void net_quiet_maybe(struct net *n);
void net_drained_maybe(struct net *n);
void net_end_failed(struct net *n, int rc);
/* How many pairs are in use, from the first on: 0 or -errno, and then nothing has changed. */
int net_set_pairs(struct net *n, unsigned cnt) MUST_CHECK;
int net_set_offloads(struct net *n, uint64_t offloads) MUST_CHECK;
void net_set_mac(struct net *n, const uint8_t mac[6]);

/* net_pair.c */
void net_pair_init(struct net_pair *p, struct net *n, unsigned idx, int fd);
void net_pair_reset(struct net_pair *p); /* nothing is held: at the start */
void net_pair_stop(struct net_pair *p);	 /* until net_pair_idle() */
void net_pair_unpop(struct net_pair *p);
static inline bool net_pair_idle(const struct net_pair *p)
{
	return !p->rx_poll.busy && !p->tx_poll.busy && !p->rx_wait.op.busy && !p->tx_wait.op.busy;
}
void net_rx_run(struct net_pair *p);
void net_tx_run(struct net_pair *p);
/* Takes chains until @want bytes fit, as far as there are any and there is room to note them. */
void net_rx_fill(struct net_pair *p, size_t want);
/* How many chains a packet may need. */
unsigned net_rx_chains(const struct net *n);
/* Judges the @len bytes of header and frame that lie in the chains, and hands them to the driver. */
void net_rx_push(struct net_pair *p, size_t len);

/* net_ctrl.c */
void net_ctrl_run(struct net *n, struct vq *q);
bool net_accepts(const struct net *n, const uint8_t dst[6]);
/* The state of a device that runs: appended, taken from @p. */
int net_ctrl_save(struct virtio_dev *dev, struct buf *to, struct err *e) MUST_CHECK;
int net_ctrl_load(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e) MUST_CHECK;

/* net_stream.c */
void net_stream_free(struct net *n);

#endif
