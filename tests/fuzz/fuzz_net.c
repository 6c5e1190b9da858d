/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver of virtio-net: any chain in any queue, control commands, packets from the other side, cable
 * and resets in between; on datagram sockets as the queues of a tap, or on a stream, whose bytes are the
 * fuzzer's then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/fuzz_input.h"
#include "tests/lib/fake_guest.h"
#include "virtio/net_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define PAIRS  2u
#define MEMORY (64u << 10)

static struct loop *loop;
static struct virtio_dev *dev;
static struct fg *g;
static int peer[PAIRS];

static void die(const char *why)
{
	(void)fprintf(stderr, "fuzz_net: %s\n", why);
	abort();
}

static void start(bool stream)
{
	struct net_config cfg = {.stream = stream, .filter = true, .queues = stream ? 1 : PAIRS};
	struct err e = {0};

	for (unsigned i = 0; i < cfg.queues; i++) {
		int sv[2];

		if (socketpair(AF_UNIX,
			       (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK,
			       0, sv) < 0)
			die("no sockets");
		cfg.fd[i] = sv[0];
		peer[i] = sv[1];
	}
	if (!loop && loop_new(&loop, 64, &e) < 0)
		die(e.msg);
	if (net_new(&dev, "net0", &cfg, &e) < 0)
		die(e.msg);
	if (!g)
		g = fg_new(MEMORY, FG_TINY_REGIONS);
	fg_plug(g, dev, loop);
}

static void end(bool stream)
{
	fg_shut(g, dev);
	for (unsigned i = 0; i < (stream ? 1 : PAIRS); i++)
		(void)close(peer[i]);
}

static void chain(struct fuzz_in *in, unsigned q)
{
	struct fg_buf buf[5];
	unsigned cnt = 1 + fz_u8(in) % 4, n = 0;
	bool write = false;

	for (unsigned i = 0; i < cnt; i++) {
		uint8_t v = fz_u8(in);
		uint8_t p[64];

		write |= (v & 1) != 0;
		if (v & 2) { /* bytes of the fuzzer's: commands */
			fz_bytes(in, p, sizeof(p));
			buf[n++] =
			    (struct fg_buf){fg_bytes(g, p, 1 + (v >> 2)), 1 + (v >> 2), write};
		} else {
			uint32_t size = v & 4 ? 12u + (v >> 3) * 64u : v >> 3;

			buf[n++] = (struct fg_buf){FG_BASE + (4u << 20) + fz_u16(in) % (MEMORY / 2),
						   size, write};
		}
	}
	(void)fg_add(fg_q(g, q), buf, n, fz_u8(in) & 1 ? FG_INDIRECT : 0);
	if (fz_u8(in) & 3)
		(void)fg_kick(fg_q(g, q));
}

static void from_outside(struct fuzz_in *in, bool stream)
{
	static uint8_t p[70000];
	size_t len = fz_u8(in);

	if (stream) {
		fz_bytes(in, p, len);
	} else {
		fz_bytes(in, p, 24);
		if (len & 1)
			len *= 270;
	}
	(void)send(peer[stream ? 0 : fz_u8(in) % PAIRS], p, len, MSG_NOSIGNAL);
}

static void step(struct fuzz_in *in, bool stream)
{
	static uint8_t p[70000];

	switch (fz_u8(in) % 8) {
	case 0:
	case 1:
	case 2:
		chain(in, fz_u8(in) % dev->queue_cnt);
		break;
	case 3:
		chain(in, 0);
		break;
	case 4:
		from_outside(in, stream);
		break;
	case 5:
		(void)loop_step(loop, false);
		(void)recv(peer[0], p, sizeof(p), 0);
		break;
	case 6:
		for (unsigned q = 0; q < dev->queue_cnt; q++)
			while (fg_take(fg_q(g, q), NULL) >= 0)
				;
		break;
	default:
		if (net_set_link(dev, fz_u8(in) & 1) < 0 && !net_of(dev)->dead)
			die("a cable that cannot be plugged in");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = {data, len};
	uint8_t how = fz_u8(&in);
	bool stream = how & 1;

	start(stream);
	fg_alloc_reset(g);
	if (fg_start(g, how & 2 ? FG_ALL : FG_ALL & ~(NET_F_MQ | NET_F_MRG_RXBUF)) < 0)
		die("start");
	for (unsigned i = 0; i < 60 && in.left; i++)
		step(&in, stream);
	fg_reset(g);
	while (dev->running)
		(void)loop_step(loop, true);
	end(stream);
	return 0;
}
