/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net's control queue, several pairs of queues, link and saved state: on datagram sockets in place
 * of the tap's queues, and on a tap of several queues.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/net_priv.h"
#include "virtio/snap.h"

#define PAIRS 3u
#define OK    0
#define ERR   1

static struct loop *loop;
static struct virtio_dev *dev;
static struct fg *g;
static struct err e;
static int peer[PAIRS] = {-1, -1, -1};
static const uint8_t own[6] = {2, 0, 0, 0, 0, 9}, other[6] = {2, 0, 0, 0, 0, 8},
		     group[6] = {3, 0, 0, 0, 0, 1}, group2[6] = {3, 0, 0, 0, 0, 2},
		     all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static struct virtio_dev *make(unsigned pairs)
{
	struct net_config cfg = {.queues = pairs, .filter = true};
	struct virtio_dev *d;

	memcpy(cfg.mac, own, 6);
	for (unsigned i = 0; i < pairs; i++) {
		int sv[2];

		cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv),
			     0);
		cfg.fd[i] = sv[0];
		if (peer[i] >= 0)
			(void)close(peer[i]);
		peer[i] = sv[1];
	}
	cr_assert_eq(net_new(&d, "net0", &cfg, &e), 0, "%s", e.msg);
	return d;
}

static void begin(unsigned pairs, uint64_t features)
{
	cr_assert_eq(loop_new(&loop, 64, &e), 0, "%s", e.msg);
	dev = make(pairs);
	g = fg_new(4u << 20, 0);
	fg_plug(g, dev, loop);
	cr_assert_eq(fg_start(g, features), 0);
}

static void end(void)
{
	if (!dev)
		return;
	fg_shut(g, dev);
	loop_free(loop);
	fg_free(g);
}

TestSuite(net_ctrl, .fini = end, .timeout = 60);

static unsigned ctrl_idx(void)
{
	return virtio_has(dev, NET_F_MQ) ? dev->queue_cnt - 1 : 2;
}

/* The answer; -1: none. */
static int ctrl_raw(const void *p, uint32_t len, uint32_t room)
{
	uint64_t cmd = fg_bytes(g, p, len ? len : 1), ack = fg_bytes(g, "\xee", 1);
	struct fg_buf b[] = {{cmd, len, false}, {ack, room, true}};
	struct fg_queue *q = fg_q(g, ctrl_idx());
	uint8_t got;

	(void)fg_add(q, b, 2, 0);
	(void)fg_kick(q);
	for (unsigned i = 0; i < 20 && fg_take(q, NULL) < 0; i++)
		(void)loop_step(loop, false);
	fg_get(g, ack, &got, 1);
	return got == 0xee ? -1 : got;
}

static int ctrl(uint8_t class, uint8_t command, const void *data, size_t len)
{
	uint8_t p[2 + 1024] = {class, command};

	memcpy(p + 2, data, len);
	return ctrl_raw(p, (uint32_t)len + 2, 1);
}

static int mode(uint8_t command, uint8_t on)
{
	return ctrl(0, command, &on, 1);
}

static int pairs(unsigned cnt)
{
	le16_t w = le16_of((uint16_t)cnt);

	return ctrl(4, 0, &w, sizeof(w));
}

static void post(unsigned pair, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		(void)fg_add(fg_q(g, 2 * pair),
			     (struct fg_buf[]){{fg_alloc(g, 1600, 1), 1600, true}}, 1, 0);
	(void)fg_kick(fg_q(g, 2 * pair));
}

static void arrive(unsigned pair, const uint8_t dst[6])
{
	uint8_t p[100] = {0};

	memcpy(p + NET_HDR_LEN, dst, 6);
	cr_assert_eq(send(peer[pair], p, sizeof(p), 0), (ssize_t)sizeof(p));
}

static bool received(unsigned pair)
{
	for (unsigned i = 0; i < 10; i++) {
		if (fg_take(fg_q(g, 2 * pair), NULL) >= 0)
			return true;
		(void)loop_step(loop, false);
	}
	return false;
}

/* Whether a packet to @dst comes through. */
static bool through(const uint8_t dst[6])
{
	arrive(0, dst);
	return received(0);
}

static bool sent(unsigned pair)
{
	uint8_t p[100] = {0};

	(void)fg_add(fg_q(g, 2 * pair + 1), (struct fg_buf[]){{fg_bytes(g, p, 100), 100, false}}, 1,
		     0);
	(void)fg_kick(fg_q(g, 2 * pair + 1));
	cr_assert_geq(fg_take_wait(fg_q(g, 2 * pair + 1), NULL), 0);
	return recv(peer[pair], p, sizeof(p), 0) == 100;
}

/* ---- pairs ------------------------------------------------------------------------------------------- */

Test(net_ctrl, one_pair_until_told)
{
	uint8_t max[2];

	begin(PAIRS, FG_ALL);
	vmmio_read(fg_slot(g), 0x108, max, 2);
	cr_assert_eq(max[0], PAIRS);
	for (unsigned i = 0; i < PAIRS; i++)
		post(i, 8);
	for (unsigned i = 0; i < PAIRS; i++) {
		arrive(i, own);
		cr_assert_eq(received(i), i == 0);
		cr_assert_eq(sent(i), i == 0, "pair %u", i);
	}
	cr_assert_eq(pairs(2), OK);
	cr_assert(received(1), "what waited there comes");
	cr_assert(sent(1));
	cr_assert_not(received(2));
	cr_assert_eq(pairs(3), OK);
	cr_assert(received(2) && sent(2));
	cr_assert_eq(pairs(1), OK);
	for (unsigned i = 0; i < PAIRS; i++) {
		arrive(i, own);
		cr_assert_eq(received(i), i == 0);
		cr_assert_eq(sent(i), i == 0);
	}
	cr_assert_eq(pairs(3), OK);
	cr_assert(received(1) && received(2));
	/* A reset goes back to one. */
	fg_reset(g);
	while (dev->running)
		cr_assert_eq(loop_step(loop, true), 0);
	fg_alloc_reset(g);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	post(1, 2);
	arrive(1, own);
	cr_assert_not(received(1));
}

Test(net_ctrl, bounds_of_pairs)
{
	begin(PAIRS, FG_ALL);
	cr_assert_eq(pairs(0), ERR);
	cr_assert_eq(pairs(PAIRS + 1), ERR);
	cr_assert_eq(pairs(65535), ERR);
	cr_assert_eq(ctrl(4, 0, "\2", 1), ERR, "cut off");
	cr_assert_eq(ctrl(4, 1, "\2\0", 2), ERR, "another command");
	cr_assert_not(sent(1));
	cr_assert_not(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET);
}

Test(net_ctrl, a_driver_that_knows_no_pairs)
{
	begin(PAIRS, FG_ALL & ~NET_F_MQ);
	post(0, 4);
	cr_assert(through(own) && sent(0));
	cr_assert_eq(mode(0, 0), OK, "the control queue is number 2");
	cr_assert_eq(pairs(2), ERR);
	cr_assert_not(through(other));
}

Test(net_ctrl, traffic_while_pairs_come_and_go)
{
	begin(2, FG_ALL);
	for (unsigned i = 0; i < 100; i++) {
		post(0, 1);
		post(1, 1);
		arrive(1, own);
		arrive(0, own);
		cr_assert_eq(pairs(1 + i % 2), OK);
		cr_assert(received(0));
		cr_assert_eq(pairs(2), OK);
		cr_assert(received(1));
		if (i % 10 == 9)
			fg_alloc_reset(g);
	}
}

/* ---- filter, address ---------------------------------------------------------------------------------- */

Test(net_ctrl, filter)
{
	begin(1, FG_ALL);
	post(0, 200);
	cr_assert(through(other), "all until the driver says otherwise");
	cr_assert_eq(mode(0, 0), OK);
	cr_assert(through(own) && through(all));
	cr_assert_not(through(other));
	cr_assert_not(through(group));
	cr_assert_eq(mode(1, 1), OK); /* allmulti */
	cr_assert(through(group) && !through(other));
	cr_assert_eq(mode(1, 0), OK);
	cr_assert_eq(mode(2, 1), OK); /* alluni */
	cr_assert(through(other) && !through(group));
	cr_assert_eq(mode(2, 0), OK);
	cr_assert_eq(mode(5, 1), OK); /* nobcast */
	cr_assert(!through(all) && through(own));
	cr_assert_eq(mode(5, 0), OK);
	cr_assert_eq(mode(4, 1), OK); /* nouni */
	cr_assert(through(all) && !through(own));
	cr_assert_eq(mode(4, 0), OK);
	cr_assert_eq(mode(3, 1), OK); /* nomulti */
	cr_assert_eq(mode(1, 1), OK);
	cr_assert(through(all) && !through(group));
	cr_assert_eq(mode(0, 1), OK);
	cr_assert(through(group) && through(other));
	/* What does not exist. */
	cr_assert_eq(mode(6, 1), ERR);
	cr_assert_eq(mode(0, 2), ERR);
	cr_assert_eq(ctrl(0, 0, "", 0), ERR);
	cr_assert_eq(ctrl(7, 0, "\1", 1), ERR);
}

static size_t put_table(uint8_t *p, uint32_t claim, unsigned cnt, const uint8_t first[6])
{
	le32_t w = le32_of(claim);

	memcpy(p, &w, sizeof(w));
	for (unsigned i = 0; i < cnt; i++) {
		memcpy(p + 4 + 6ul * i, first, 6);
		if (i)
			p[4 + 6ul * i + 4] = (uint8_t)i;
	}
	return 4 + 6ul * cnt;
}

Test(net_ctrl, tables)
{
	uint8_t p[1024];
	size_t n;

	begin(1, FG_ALL);
	post(0, 200);
	cr_assert_eq(mode(0, 0), OK);
	n = put_table(p, 1, 1, other);
	n += put_table(p + n, 1, 1, group);
	cr_assert_eq(ctrl(1, 0, p, n), OK);
	cr_assert(through(other) && through(group) && !through(group2));
	/* Tables that are longer than their command change nothing. */
	n = put_table(p, 1, 1, group);
	cr_assert_eq(ctrl(1, 0, p, n), ERR, "no second table");
	cr_assert_eq(ctrl(1, 0, p, n + 3), ERR, "half a count");
	n += put_table(p + n, 2, 1, group2);
	cr_assert_eq(ctrl(1, 0, p, n), ERR);
	n = put_table(p, UINT32_MAX, 1, group2);
	n += put_table(p + n, 0, 0, group);
	cr_assert_eq(ctrl(1, 0, p, n), ERR);
	n = put_table(p, 0x2aaaaaab, 1, group2); /* times 6 is 2 */
	n += put_table(p + n, 0, 0, group);
	cr_assert_eq(ctrl(1, 0, p, n), ERR);
	cr_assert(through(other) && through(group) && !through(group2));
	/* More than we keep: all of that kind. */
	n = put_table(p, 0, 0, other);
	n += put_table(p + n, NET_MACS_MAX + 1, NET_MACS_MAX + 1, group);
	cr_assert_eq(ctrl(1, 0, p, n), OK);
	cr_assert(through(group2) && !through(other));
	n = put_table(p, NET_MACS_MAX, NET_MACS_MAX, other);
	n += put_table(p + n, 0, 0, group);
	cr_assert_eq(ctrl(1, 0, p, n), OK);
	cr_assert(through(other) && !through(group2));
}

static void expect_mac(const uint8_t want[6])
{
	uint8_t mac[6];

	for (unsigned i = 0; i < 6; i++)
		vmmio_read(fg_slot(g), 0x100 + i, mac + i, 1);
	cr_assert_arr_eq(mac, want, 6);
}

Test(net_ctrl, address)
{
	begin(1, FG_ALL);
	post(0, 20);
	cr_assert_eq(mode(0, 0), OK);
	cr_assert_eq(ctrl(1, 1, other, 6), OK);
	expect_mac(other);
	cr_assert(through(other) && !through(own));
	cr_assert_eq(ctrl(1, 1, group, 6), ERR);
	cr_assert_eq(ctrl(1, 1, own, 5), ERR);
	cr_assert_eq(ctrl(1, 1, "\2\0\0\0\0\7\0", 7), ERR);
	cr_assert_eq(ctrl(1, 2, own, 6), ERR);
	expect_mac(other);
	fg_reset(g);
	while (dev->running)
		cr_assert_eq(loop_step(loop, true), 0);
	expect_mac(own);
}

Test(net_ctrl, what_was_not_negotiated)
{
	begin(2, FG_ALL & ~(NET_F_CTRL_RX | NET_F_CTRL_MAC | NET_F_CTRL_RX_EXTRA));
	cr_assert_eq(mode(0, 0), ERR);
	cr_assert_eq(mode(2, 0), ERR);
	cr_assert_eq(ctrl(1, 0, "\0\0\0\0\0\0\0\0", 8), ERR);
	cr_assert_eq(ctrl(1, 1, other, 6), ERR);
	cr_assert_eq(ctrl(5, 0, "\0\0\0\0\0\0\0\0", 8), ERR, "a socket has no offloads");
}

Test(net_ctrl, odd_chains)
{
	uint64_t a;

	begin(1, FG_ALL);
	cr_assert_eq(ctrl_raw("\0", 1, 1), ERR, "no whole header");
	cr_assert_eq(ctrl_raw("", 0, 1), ERR, "none at all");
	cr_assert_not(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET);
	a = fg_bytes(g, "\0\0\1", 3);
	(void)fg_add(fg_q(g, 2), (struct fg_buf[]){{a, 3, false}}, 1, 0);
	(void)fg_kick(fg_q(g, 2));
	for (unsigned i = 0; i < 5; i++)
		(void)loop_step(loop, false);
	cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "no room for the answer");
}

/* ---- link --------------------------------------------------------------------------------------------- */

static unsigned link_status(void)
{
	uint8_t v[2];

	vmmio_read(fg_slot(g), 0x106, v, 2);
	return v[0];
}

Test(net_ctrl, link)
{
	unsigned irqs;

	begin(1, FG_ALL);
	post(0, 20);
	cr_assert_eq(link_status(), 1);
	irqs = fg_irqs(g);
	cr_assert_eq(net_set_link(dev, false), 0);
	cr_assert_eq(link_status(), 0);
	cr_assert_eq(fg_irqs(g), irqs + 1);
	cr_assert(fg_reg(g, 0x60) & VIRTIO_IRQ_CONFIG);
	cr_assert_not(through(own));
	cr_assert_not(sent(0));
	cr_assert_eq(net_set_link(dev, true), 0);
	cr_assert_eq(link_status(), 1);
	cr_assert(through(own) && sent(0));
	cr_assert_eq(net_set_link(dev, true), 0);
	cr_assert_eq(fg_irqs(g) > irqs + 1, true);
}

/* ---- saved state -------------------------------------------------------------------------------------- */

Test(net_ctrl, saved_state)
{
	struct virtio_dev *to;
	struct snap_rd r;
	struct fg *g2;
	uint8_t p[64];
	size_t n;
	struct buf b;

	begin(2, FG_ALL);
	cr_assert_eq(pairs(2), OK);
	cr_assert_eq(mode(0, 0), OK);
	cr_assert_eq(ctrl(1, 1, other, 6), OK);
	n = put_table(p, 0, 0, own);
	n += put_table(p + n, 1, 1, group);
	cr_assert_eq(ctrl(1, 0, p, n), OK);
	b = fg_save(g, dev);
	g2 = fg_copy(g);
	to = make(2);
	fg_plug(g2, to, loop);
	r = (struct snap_rd){b.data, b.len};
	cr_assert_eq(virtio_load(to, &r, &e), 0, "%s", e.msg);
	fg_shut(g, dev);
	fg_free(g);
	g = g2;
	dev = to;
	virtio_thaw(dev);
	expect_mac(other);
	post(0, 8);
	post(1, 8);
	cr_assert(through(other) && through(group) && !through(own) && !through(group2));
	arrive(1, other);
	cr_assert(received(1) && sent(1));
	buf_free(&b);
}

/* The device's own record is the last one: its fields, from its end. */
#define OWN_LEN (26u + 2 * 6 * NET_MACS_MAX)

Test(net_ctrl, saved_state_that_makes_no_sense)
{
	static const struct {
		unsigned off;
		uint8_t v;
	} bad[] = {
	    {7, 0x80}, /* an offload that nobody negotiated */
	    {8, 1},    /* a multicast address */
	    {14, 0},   /* no pairs */
	    {14, 3},   /* one too many */
	    {24, NET_MACS_MAX + 1},
	    {25, 255},
	};
	struct buf b;

	begin(2, FG_ALL);
	b = fg_save(g, dev);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		uint8_t *p = b.data + b.len - OWN_LEN + bad[i].off, was = *p;
		struct virtio_dev *to = make(2);
		struct fg *g2 = fg_copy(g);
		struct snap_rd r;

		*p = bad[i].v;
		r = (struct snap_rd){b.data, b.len};
		fg_plug(g2, to, loop);
		e = (struct err){0};
		cr_assert_lt(virtio_load(to, &r, &e), 0, "case %zu", i);
		cr_assert(e.msg[0]);
		virtio_free(to);
		fg_free(g2);
		*p = was;
	}
	virtio_thaw(dev);
	buf_free(&b);
}

/* ---- a tap of several queues -------------------------------------------------------------------------- */

static int open_queue(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "t0");
	return fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0 ? fd : -1;
}

/* Detached queues have no device: the kernel refuses to detach them again. */
static bool is_attached(int fd)
{
	struct ifreq ifr = {.ifr_flags = IFF_ATTACH_QUEUE};

	if (ioctl(fd, TUNSETQUEUE, &ifr) < 0)
		return true;
	ifr.ifr_flags = IFF_DETACH_QUEUE;
	cr_assert_eq(ioctl(fd, TUNSETQUEUE, &ifr), 0);
	return false;
}

Test(net_ctrl, tap_queues)
{
	struct net_config cfg = {.queues = 2};
	le64_t w = le64_of(0);
	int keep;

	if (unshare(CLONE_NEWNET) < 0 || (cfg.fd[0] = open_queue()) < 0)
		cr_skip_test("needs root and /dev/net/tun");
	cfg.fd[1] = open_queue();
	cr_assert_geq(cfg.fd[1], 0);
	keep = dup(cfg.fd[1]);
	cr_assert_eq(loop_new(&loop, 64, &e), 0);
	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), 0, "%s", e.msg);
	g = fg_new(1u << 20, 0);
	fg_plug(g, dev, loop);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_not(is_attached(keep), "the tap would spread packets over it");
	cr_assert_eq(pairs(2), OK);
	cr_assert(is_attached(keep));
	cr_assert_eq(pairs(1), OK);
	cr_assert_not(is_attached(keep));
	cr_assert_eq(pairs(2), OK);
	fg_reset(g);
	while (dev->running)
		cr_assert_eq(loop_step(loop, true), 0);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_not(is_attached(keep));
	(void)close(keep);
	/* Offloads can be taken off and put on, what was not negotiated cannot. */
	cr_assert_eq(ctrl(5, 0, &w, sizeof(w)), OK);
	w = le64_of(dev->acked & NET_GUEST_OFFLOADS);
	cr_assert_neq(le64_get(w) & NET_F_GUEST_TSO4, 0);
	cr_assert_eq(ctrl(5, 0, &w, sizeof(w)), OK);
	cr_assert_eq(ctrl(5, 0, &w, 7), ERR);
	w = le64_of(NET_F_MAC);
	cr_assert_eq(ctrl(5, 0, &w, sizeof(w)), ERR);
}

Test(net_ctrl, refusals)
{
	struct net_config cfg = {.queues = NET_QUEUES_MAX + 1};

	for (unsigned i = 0; i < NET_QUEUES_MAX; i++)
		cfg.fd[i] = open("/dev/null", O_RDWR);
	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), -EINVAL);
	cr_assert(strstr(e.msg, "at most 8"));
	cr_assert_eq(fcntl(cfg.fd[NET_QUEUES_MAX - 1], F_GETFD), -1, "closed");
}
