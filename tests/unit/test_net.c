/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net: most of it on a datagram socket in place of the tap (a packet per read, EAGAIN when
 * full), the rest on a tap in a network namespace of its own.
 */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

#define RX  0
#define TX  1
#define HDR 12u

static struct loop *loop;
static struct virtio_dev *dev;
static struct fg *g;
static struct err e;
static int peer = -1;
static struct net_limit rx_limit, tx_limit;

static void begin_fd(int fd, uint64_t features)
{
	struct net_config cfg = {.fd = {fd},
				 .filter = true,
				 .mac = {2, 0, 0, 0, 0, 9},
				 .mtu = 1400,
				 .rx = rx_limit,
				 .tx = tx_limit};

	cr_assert(loop_new(&loop, 64, &e) == 0 && net_new(&dev, "net0", &cfg, &e) == 0, "%s",
		  e.msg);
	g = fg_new(4u << 20, 0);
	fg_plug(g, dev, loop);
	cr_assert_eq(fg_start(g, features), 0);
}

static void begin(uint64_t features)
{
	int sv[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	peer = sv[1];
	begin_fd(sv[0], features);
}

static void end(void)
{
	if (!dev)
		return;
	fg_shut(g, dev);
	loop_free(loop);
	fg_free(g);
	if (peer >= 0)
		(void)close(peer);
}

TestSuite(net, .fini = end, .timeout = 60);

static void post(unsigned cnt, uint32_t len, uint64_t *gpa)
{
	for (unsigned i = 0; i < cnt; i++) {
		gpa[i] = fg_alloc(g, len, 1);
		(void)fg_add(fg_q(g, RX), (struct fg_buf[]){{gpa[i], len, true}}, 1, 0);
	}
	(void)fg_kick(fg_q(g, RX));
}

static void arrive(size_t len, unsigned seed)
{
	static uint8_t p[70000];

	memset(p, 0, HDR);
	for (size_t i = HDR; i < len; i++)
		p[i] = (uint8_t)(i * 3 + seed);
	cr_assert_eq(send(peer, p, len, 0), (ssize_t)len);
}

/* The bytes [from, from+len) of a packet at @gpa. */
static void expect(uint64_t gpa, size_t from, size_t len, unsigned seed)
{
	for (size_t i = from < HDR ? HDR : from; i < from + len; i++) {
		uint8_t b;

		fg_get(g, gpa + i - from, &b, 1);
		cr_assert_eq(b, (uint8_t)(i * 3 + seed), "byte %zu", i);
	}
}

static unsigned buffers(uint64_t gpa)
{
	le16_t v;

	fg_get(g, gpa + 10, &v, 2);
	return le16_get(v);
}

static unsigned send_out(uint32_t len, uint8_t byte)
{
	static uint8_t p[70000];
	uint64_t gpa;

	memset(p, 0, HDR);
	memset(p + HDR, byte, sizeof(p) - HDR);
	gpa = fg_bytes(g, p, len);
	(void)fg_add(fg_q(g, TX), (struct fg_buf[]){{gpa, len, false}}, 1, 0);
	return fg_kick(fg_q(g, TX));
}

Test(net, config)
{
	uint8_t cfg[12];

	begin(FG_ALL);
	for (unsigned i = 0; i < sizeof(cfg); i++)
		vmmio_read(fg_slot(g), 0x100 + i, cfg + i, 1);
	cr_assert_arr_eq(cfg, "\2\0\0\0\0\11\1\0\1\0\170\5", 12);
	cr_assert(virtio_offered(dev) & (1ull << 15));
	cr_assert_not(virtio_offered(dev) & 1, "a socket has no offloads");
}

Test(net, receive)
{
	uint64_t gpa[4];
	uint32_t len;

	begin(FG_ALL);
	post(4, 1600, gpa);
	arrive(100, 1);
	arrive(1500, 2);
	cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
	cr_assert_eq(len, 100);
	cr_assert_eq(buffers(gpa[0]), 1);
	expect(gpa[0], 0, 100, 1);
	cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
	cr_assert_eq(len, 1500);
	expect(gpa[1], 0, 1500, 2);
	cr_assert_eq(fg_take(fg_q(g, RX), &len), -1);
	cr_assert_geq(fg_irqs(g), 1);
}

Test(net, merged_buffers)
{
	uint64_t gpa[60];
	uint32_t len;

	begin(FG_ALL);
	post(60, 1200, gpa);
	arrive(60000, 7);
	arrive(64, 8);
	for (unsigned i = 0; i < 50; i++) {
		cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
		cr_assert_eq(len, 1200);
		expect(gpa[i], i * 1200, 1200, 7);
	}
	cr_assert_eq(buffers(gpa[0]), 50);
	cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
	cr_assert_eq(len, 64);
	cr_assert_eq(buffers(gpa[50]), 1);
	expect(gpa[50], 0, 64, 8);
}

Test(net, no_room_drops_and_goes_on)
{
	uint64_t gpa[8];
	uint32_t len;

	begin(FG_ALL);
	post(2, 200, gpa);
	arrive(500, 1); /* larger than all there is */
	arrive(60, 2);
	cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
	cr_assert_eq(len, 60, "the large one was dropped, whole");
	expect(gpa[0], 0, 60, 2);
	/* Out of buffers, packets wait in the tap until there are new ones. */
	arrive(150, 3);
	arrive(151, 4);
	cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
	cr_assert_eq(len, 150);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(loop_step(loop, false), 0);
	cr_assert_eq(fg_take(fg_q(g, RX), &len), -1);
	post(1, 200, gpa);
	cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
	cr_assert_eq(len, 151);
	expect(gpa[0], 0, 151, 4);
}

Test(net, without_merging)
{
	uint64_t gpa[2];
	uint32_t len;

	begin(FG_ALL & ~(1ull << 15));
	post(2, 300, gpa);
	arrive(400, 1);
	arrive(300, 2);
	cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
	cr_assert_eq(len, 300);
	expect(gpa[0], 0, 300, 2);
	cr_assert_eq(buffers(gpa[0]), 1);
}

Test(net, send)
{
	uint8_t p[2000];
	uint32_t len;

	begin(FG_ALL);
	cr_assert(send_out(100, 0xaa));
	cr_assert_geq(fg_take_wait(fg_q(g, TX), &len), 0);
	cr_assert_eq(recv(peer, p, sizeof(p), 0), 100);
	cr_assert_eq(p[99], 0xaa);
	/* Too short for a frame, and too long for any: given back, not sent. */
	(void)send_out(HDR, 1);
	cr_assert_geq(fg_take_wait(fg_q(g, TX), &len), 0);
	(void)send_out(66000, 1);
	cr_assert_geq(fg_take_wait(fg_q(g, TX), &len), 0);
	cr_assert_eq(recv(peer, p, sizeof(p), 0), -1);
	cr_assert_eq(errno, EAGAIN);
	cr_assert_not(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET);
}

Test(net, full_tap_holds_the_queue)
{
	uint8_t p[2000];
	unsigned back = 0;
	uint32_t len;

	begin(FG_ALL);
	for (unsigned i = 0; i < 200; i++)
		(void)send_out(1000, (uint8_t)i);
	while (fg_take(fg_q(g, TX), &len) >= 0)
		back++;
	cr_assert_lt(back, 200, "the socket took all: nothing is tested");
	for (unsigned i = 0; i < 200; i++) {
		while (recv(peer, p, sizeof(p), 0) < 0)
			cr_assert_eq(loop_step(loop, true), 0);
		cr_assert_eq(p[500], (uint8_t)i, "in order, none lost");
	}
	while (back < 200) {
		cr_assert_geq(fg_take_wait(fg_q(g, TX), &len), 0);
		back++;
	}
}

Test(net, reset_while_polling_and_holding)
{
	uint64_t gpa[4];
	uint32_t len;

	begin(FG_ALL);
	for (unsigned round = 0; round < 3; round++) {
		post(4, 1600, gpa);
		for (unsigned i = 0; i < 200; i++)
			(void)send_out(1000, (uint8_t)i);
		fg_reset(g);
		while (dev->running)
			cr_assert_eq(loop_step(loop, true), 0);
		fg_alloc_reset(g);
		cr_assert_eq(fg_start(g, FG_ALL), 0);
	}
	post(1, 1600, gpa);
	arrive(77, 1);
	cr_assert_geq(fg_take_wait(fg_q(g, RX), &len), 0);
	cr_assert_eq(len, 77);
}

Test(net, bad_receive_buffers)
{
	uint64_t gpa[1];

	begin(FG_ALL);
	post(1, HDR - 1, gpa);
	cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "no room for the header");
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	(void)fg_add(fg_q(g, RX), (struct fg_buf[]){{fg_alloc(g, 100, 1), 100, false}}, 1, 0);
	(void)fg_kick(fg_q(g, RX));
	cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "readable");
}

Test(net, refusals)
{
	struct net_config cfg = {.fd = {open("/dev/null", O_RDWR)}, .mac = {1}};

	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), -EINVAL);
	cr_assert(strstr(e.msg, "multicast"));
	cr_assert_eq(fcntl(cfg.fd[0], F_GETFD), -1);
	e = (struct err){0};
	cfg = (struct net_config){.fd = {open("/dev/null", O_RDWR)}, .mtu = 67};
	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), -EINVAL);
}

static int make_tap(int *ret_raw)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(0x88b5)};
	int tap, raw;

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "t0");
	if (tap < 0 || ioctl(tap, TUNSETIFF, &ifr) < 0)
		return -1;
	raw = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(0x88b5));
	if (raw < 0)
		return -1;
	ifr.ifr_flags = IFF_UP;
	cr_assert_eq(ioctl(raw, SIOCSIFFLAGS, &ifr), 0);
	ll.sll_ifindex = (int)if_nametoindex("t0");
	cr_assert_eq(bind(raw, (struct sockaddr *)&ll, sizeof(ll)), 0);
	*ret_raw = raw;
	return tap;
}

/* Local experimental Ethertype, broadcast. */
static const uint8_t frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,   0,	0,
				  0,	0,    9,    0x88, 0xb5, 'h',  'u', 's', 'k'};

Test(net, tap)
{
	uint8_t out[HDR + sizeof(frame)] = {0}, in[200];
	uint64_t gpa[8];
	uint32_t len;
	int raw, tap = make_tap(&raw);

	if (tap < 0)
		cr_skip_test("needs root and /dev/net/tun");
	begin_fd(tap, FG_ALL);
	cr_assert_eq(virtio_offered(dev) & 0x83, 0x83, "checksums and TSO of the tap");
	post(8, 1600, gpa);
	cr_assert_eq(send(raw, frame, sizeof(frame), 0), (ssize_t)sizeof(frame));
	for (unsigned i = 0;; i++) { /* the kernel's own packets (IPv6) may come first */
		cr_assert(i < 8 && fg_take_wait(fg_q(g, RX), &len) >= 0);
		fg_get(g, gpa[i], in, HDR + sizeof(frame));
		if (in[HDR + 12] == 0x88)
			break;
	}
	cr_assert_eq(len, HDR + sizeof(frame));
	cr_assert_arr_eq(in + HDR, frame, sizeof(frame));
	memcpy(out + HDR, frame, sizeof(frame));
	gpa[0] = fg_bytes(g, out, sizeof(out));
	(void)fg_add(fg_q(g, TX), (struct fg_buf[]){{gpa[0], sizeof(out), false}}, 1, 0);
	(void)fg_kick(fg_q(g, TX));
	cr_assert_geq(fg_take_wait(fg_q(g, TX), &len), 0);
	cr_assert_eq(recv(raw, in, sizeof(in), 0), (ssize_t)sizeof(frame));
	cr_assert_arr_eq(in, frame, sizeof(frame));
	/* A header that makes no sense costs the packet, nothing else. */
	memset(out, 0xff, HDR);
	gpa[0] = fg_bytes(g, out, sizeof(out));
	(void)fg_add(fg_q(g, TX), (struct fg_buf[]){{gpa[0], sizeof(out), false}}, 1, 0);
	(void)fg_kick(fg_q(g, TX));
	cr_assert_geq(fg_take_wait(fg_q(g, TX), &len), 0);
	cr_assert_eq(recv(raw, in, sizeof(in), 0), -1);
	(void)close(raw);
}

/* ---- limits (net_rate.h) ---- */

static unsigned arrived(void)
{
	uint8_t buf[200];
	unsigned cnt = 0;

	while (recv(peer, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		cnt++;
	return cnt;
}

/* 100 packets a second, 2 at once: ten take 70 ms at least, and all of them arrive. */
Test(net, sending_has_a_limit)
{
	uint64_t began = clock_ns(), took;
	unsigned cnt = 0;
	uint32_t len;

	tx_limit = (struct net_limit){.packets = 100, .burst_ns = 20 * NS_PER_MS};
	begin(FG_ALL);
	for (unsigned i = 0; i < 10; i++)
		(void)send_out(HDR + 100, 1);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert_geq(fg_take_wait(fg_q(g, 1), &len), 0);
		cnt += arrived();
	}
	took = clock_ns() - began;
	cr_expect_eq(cnt, 10);
	cr_expect_geq(took, 70 * NS_PER_MS, "%llu ns", (unsigned long long)took);
}

Test(net, receiving_has_a_limit)
{
	uint64_t began = clock_ns(), took, gpa[8];
	uint32_t len;

	rx_limit = (struct net_limit){.bytes = 10000, .burst_ns = 20 * NS_PER_MS};
	begin(FG_ALL);
	post(8, 2000, gpa);
	for (unsigned i = 0; i < 8; i++)
		arrive(HDR + 100, i);
	for (unsigned i = 0; i < 8; i++)
		cr_assert_geq(fg_take_wait(fg_q(g, 0), &len), 0);
	took = clock_ns() - began;
	cr_expect_geq(took, 50 * NS_PER_MS, "%llu ns", (unsigned long long)took);
}

/* A reset does not wait until the next packet may pass, and nothing fires behind it. */
Test(net, a_reset_takes_the_timer_along)
{
	uint64_t began;

	tx_limit = (struct net_limit){.packets = 1, .burst_ns = 1};
	begin(FG_ALL);
	for (unsigned i = 0; i < 3; i++)
		(void)send_out(HDR + 100, 1);
	began = clock_ns();
	(void)fg_reset(g);
	cr_expect_lt(clock_ns() - began, 900 * NS_PER_MS);
	cr_expect_leq(arrived(), 2);
}
