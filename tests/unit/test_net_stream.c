/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net on a stream socket, the way passt speaks: frames with their length in front. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/net_priv.h"

#define RX 0
#define TX 1

static struct loop *loop;
static struct virtio_dev *dev;
static struct fg *g;
static struct err e;
static int peer = -1;

static void begin(uint64_t features)
{
	struct net_config cfg = {.stream = true, .mac = {2}};
	int sv[2], small = 8192;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	/* Else the kernel takes a frame whole or not at all. */
	cr_assert_eq(setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	cr_assert_eq(fcntl(sv[1], F_SETFL, O_NONBLOCK), 0);
	peer = sv[1];
	cfg.fd[0] = sv[0];
	cr_assert_eq(loop_new(&loop, 64, &e), 0, "%s", e.msg);
	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), 0, "%s", e.msg);
	g = fg_new(16u << 20, 0);
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
	(void)close(peer);
}

TestSuite(net_stream, .fini = end, .timeout = 60);

static void steps(unsigned n)
{
	while (n--)
		cr_assert_eq(loop_step(loop, false), 0);
}

static void post(unsigned cnt, uint32_t len, uint64_t *gpa)
{
	for (unsigned i = 0; i < cnt; i++) {
		uint64_t a = fg_alloc(g, len, 1);

		if (gpa)
			gpa[i] = a;
		(void)fg_add(fg_q(g, RX), (struct fg_buf[]){{a, len, true}}, 1, 0);
	}
	(void)fg_kick(fg_q(g, RX));
}

static uint8_t pattern(size_t i, unsigned seed)
{
	return (uint8_t)(i * 3 + seed);
}

static size_t frame(uint8_t *p, size_t len, unsigned seed)
{
	be32_store(p, (uint32_t)len);
	for (size_t i = 0; i < len; i++)
		p[4 + i] = pattern(i, seed);
	return 4 + len;
}

static void arrive(const void *p, size_t len)
{
	cr_assert_eq(send(peer, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void expect(uint64_t gpa, size_t len, unsigned seed)
{
	uint8_t hdr[NET_HDR_LEN], want[NET_HDR_LEN] = {[NET_HDR_BUFFERS] = 1};

	fg_get(g, gpa, hdr, sizeof(hdr));
	cr_assert_arr_eq(hdr, want, sizeof(hdr), "no flags, one buffer");
	for (size_t i = 0; i < len; i++) {
		uint8_t b;

		fg_get(g, gpa + NET_HDR_LEN + i, &b, 1);
		cr_assert_eq(b, pattern(i, seed), "byte %zu", i);
	}
}

static void expect_rx(uint64_t gpa, size_t len, unsigned seed)
{
	uint32_t written;

	cr_assert_geq(fg_take_wait(fg_q(g, RX), &written), 0);
	cr_assert_eq(written, len + NET_HDR_LEN);
	expect(gpa, len, seed);
}

static unsigned link_status(void)
{
	uint8_t v[2];

	vmmio_read(fg_slot(g), 0x106, v, 2);
	return v[0];
}

Test(net_stream, no_offloads)
{
	begin(FG_ALL);
	cr_assert_not(virtio_offered(dev) & (NET_GUEST_OFFLOADS | NET_F_CSUM | NET_F_HOST_TSO4));
	cr_assert(virtio_offered(dev) & NET_F_MRG_RXBUF);
}

Test(net_stream, frames_in_any_pieces)
{
	static uint8_t p[8192];
	uint64_t gpa[8];
	size_t n = 0;

	begin(FG_ALL);
	post(8, 1600, gpa);
	/* Several at once, and the beginning of the next. */
	n = frame(p, 60, 1);
	n += frame(p + n, 1500, 2);
	n += frame(p + n, 14, 3);
	arrive(p, n);
	expect_rx(gpa[0], 60, 1);
	expect_rx(gpa[1], 1500, 2);
	expect_rx(gpa[2], 14, 3);
	/* Byte by byte. */
	n = frame(p, 100, 4);
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(fg_take(fg_q(g, RX), NULL), -1);
		arrive(p + i, 1);
		steps(2);
	}
	expect_rx(gpa[3], 100, 4);
	/* One and a half. */
	n = frame(p, 200, 5);
	n += frame(p + n, 300, 6);
	arrive(p, 350);
	expect_rx(gpa[4], 200, 5);
	steps(3);
	cr_assert_eq(fg_take(fg_q(g, RX), NULL), -1);
	arrive(p + 350, n - 350);
	expect_rx(gpa[5], 300, 6);
}

Test(net_stream, more_than_a_budget_at_once)
{
	static uint8_t p[300 * 64];
	size_t n = 0;

	begin(FG_ALL);
	post(200, 100, NULL);
	for (unsigned i = 0; i < 300; i++)
		n += frame(p + n, 60, i);
	arrive(p, n);
	for (unsigned i = 0; i < 300; i++) {
		cr_assert_geq(fg_take_wait(fg_q(g, RX), NULL), 0, "frame %u", i);
		post(1, 100, NULL);
	}
}

Test(net_stream, waits_for_buffers)
{
	static uint8_t p[200];
	uint64_t gpa[1];
	size_t n = frame(p, 60, 1);

	begin(FG_ALL);
	n += frame(p + n, 61, 2);
	arrive(p, n);
	steps(5);
	for (unsigned i = 0; i < 2; i++) {
		post(1, 200, gpa);
		expect_rx(gpa[0], 60 + i, 1 + i);
	}
	cr_assert_eq(dev->faults, 0);
}

Test(net_stream, a_large_frame_over_many_buffers)
{
	static uint8_t p[70000];
	uint64_t gpa[64];
	uint32_t written;
	uint8_t two[2];
	size_t n = frame(p, NET_FRAME_MAX, 7), off = 0;

	begin(FG_ALL);
	post(20, 1536, gpa);
	for (size_t i = 0; i < n; i += (size_t)MAX(send(peer, p + i, n - i, MSG_NOSIGNAL), 0))
		steps(1);
	steps(5);
	cr_assert_eq(fg_take(fg_q(g, RX), NULL), -1, "20 are not enough");
	post(44, 1536, gpa + 20);
	for (unsigned i = 0; off < NET_PACKET_MAX; i++) {
		cr_assert_geq(fg_take_wait(fg_q(g, RX), &written), 0);
		off += written;
		if (i == 0)
			fg_get(g, gpa[0] + NET_HDR_BUFFERS, two, 2);
	}
	cr_assert_eq(off, NET_PACKET_MAX);
	cr_assert_eq(two[0], (NET_PACKET_MAX + 1535) / 1536);
}

Test(net_stream, what_never_fits_is_dropped)
{
	static uint8_t p[2000];
	uint64_t gpa[2];
	size_t n = frame(p, 400, 1);

	begin(FG_ALL & ~NET_F_MRG_RXBUF);
	n += frame(p + n, 100, 2);
	post(2, 300, gpa);
	arrive(p, n);
	expect_rx(gpa[0], 100, 2);
}

static void bad_length(uint32_t len)
{
	uint8_t p[4];

	begin(FG_ALL);
	post(4, 1600, NULL);
	be32_store(p, len);
	arrive(p, 4);
	steps(5);
	cr_assert_eq(link_status(), 0);
	cr_assert_eq(net_set_link(dev, true), -EPIPE);
	cr_assert_not(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "not the guest's fault");
}

Test(net_stream, too_long)
{
	bad_length(NET_FRAME_MAX + 1);
}

Test(net_stream, too_short)
{
	bad_length(NET_FRAME_MIN - 1);
}

static void send_out(uint32_t len, unsigned seed)
{
	static uint8_t p[70000];
	uint64_t a;

	memset(p, 0xcc, NET_HDR_LEN);
	for (size_t i = 0; i + NET_HDR_LEN < len; i++)
		p[NET_HDR_LEN + i] = pattern(i, seed);
	a = fg_bytes(g, p, len);
	/* The header and the beginning of the frame in pieces. */
	(void)fg_add(fg_q(g, TX),
		     (struct fg_buf[]){{a, 5, false}, {a + 5, 9, false}, {a + 14, len - 14, false}},
		     3, 0);
	(void)fg_kick(fg_q(g, TX));
}

/* Reads @len bytes, running the loop. */
static void read_all(uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = recv(peer, p, len, 0);

		if (n < 0) {
			cr_assert_eq(loop_step(loop, true), 0);
			continue;
		}
		cr_assert_gt(n, 0);
		p += n;
		len -= (size_t)n;
	}
}

static void expect_frame(size_t len, unsigned seed)
{
	static uint8_t p[70000];

	read_all(p, 4);
	cr_assert_eq(be32_load(p), len);
	read_all(p, len);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(p[i], pattern(i, seed), "byte %zu", i);
}

Test(net_stream, sends)
{
	begin(FG_ALL);
	send_out(NET_HDR_LEN + 60, 1);
	cr_assert_geq(fg_take_wait(fg_q(g, TX), NULL), 0);
	expect_frame(60, 1);
	send_out(NET_PACKET_MAX, 2);
	send_out(NET_PACKET_MAX + 1, 2);
	send_out(NET_PACKET_MIN - 1, 2);
	send_out(NET_PACKET_MIN, 3);
	expect_frame(NET_FRAME_MAX, 2);
	expect_frame(NET_FRAME_MIN, 3);
}

Test(net_stream, a_full_socket_cuts_no_frame)
{
	begin(FG_ALL);
	for (unsigned i = 0; i < 80; i++)
		send_out(NET_HDR_LEN + 30000 + i, i);
	steps(5);
	for (unsigned i = 0; i < 80; i++)
		expect_frame(30000 + i, i);
	for (unsigned i = 0; i < 80; i++)
		cr_assert_geq(fg_take_wait(fg_q(g, TX), NULL), 0);
}

Test(net_stream, the_end_of_a_frame_needs_no_driver)
{
	unsigned sent = 0;

	begin(FG_ALL);
	/* Until a chain stays: the one before went out in part. */
	do {
		send_out(NET_HDR_LEN + 30001, sent++);
		steps(3);
	} while (fg_take(fg_q(g, TX), NULL) >= 0);
	fg_reset(g);
	while (dev->running)
		cr_assert_eq(loop_step(loop, true), 0);
	fg_alloc_reset(g);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	send_out(NET_HDR_LEN + 77, 99);
	/* Whole frames, and then the new driver's. */
	for (unsigned i = 0; i + 1 < sent; i++)
		expect_frame(30001, i);
	expect_frame(77, 99);
}

Test(net_stream, the_other_end_goes)
{
	unsigned irqs;

	begin(FG_ALL);
	post(4, 1600, NULL);
	irqs = fg_irqs(g);
	(void)shutdown(peer, SHUT_RDWR);
	steps(5);
	cr_assert_eq(link_status(), 0);
	cr_assert_gt(fg_irqs(g), irqs);
	/* Nothing piles up, no SIGPIPE. */
	for (unsigned i = 0; i < 300; i++) {
		send_out(NET_HDR_LEN + 60, 1);
		cr_assert_geq(fg_take_wait(fg_q(g, TX), NULL), 0);
		if (i % 100 == 0)
			fg_alloc_reset(g);
	}
}

Test(net_stream, refusals)
{
	struct net_config cfg = {.stream = true, .queues = 2};
	int sv[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv), 0);
	cfg.fd[0] = dup(sv[0]);
	cfg.fd[1] = dup(sv[1]);
	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), -EINVAL);
	cr_assert(strstr(e.msg, "one pair"));
	e = (struct err){0};
	cfg.queues = 1;
	cfg.fd[0] = sv[0];
	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), -EINVAL);
	cr_assert(strstr(e.msg, "stream socket"));
	e = (struct err){0};
	cfg.fd[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), -EINVAL, "not connected");
	(void)close(sv[1]);
}
