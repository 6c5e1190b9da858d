/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver against console.c, while the host's side sends, stalls, resumes and resizes.
 */
#include <stdlib.h>

#include "tests/fuzz/fuzz_input.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define PORTS 3u

static struct virtio_dev *dev;
static size_t limit[PORTS];
static unsigned port_of[PORTS] = {0, 1, 2};
static uint8_t sum;

static size_t on_output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	unsigned port = *(unsigned *)ctx;
	size_t n = MIN(len, limit[port]);

	BUG_ON(iov_len(iov, cnt) != len || len == 0);
	for (unsigned i = 0; i < cnt; i++)
		sum ^= ((const uint8_t *)iov[i].iov_base)[iov[i].iov_len - 1];
	limit[port] -= n;
	if (limit[port] % 3 == 1)
		vcon_output_resume(dev, port);
	if (limit[port] % 5 == 1)
		(void)vcon_send(dev, port, "echo", 4);
	return n;
}

static void on_room(void *ctx)
{
	(void)vcon_send(dev, *(unsigned *)ctx, "room", 4);
}

static void on_open(void *ctx, bool open)
{
	if (open)
		(void)vcon_send(dev, *(unsigned *)ctx, "hello", 5);
}

static const struct vcon_port_ops ops = {
    .output = on_output, .input_room = on_room, .opened = on_open};

static void add_chain(struct fg *g, struct fuzz_in *in, struct fg_queue *q, uint8_t op)
{
	struct fg_buf b[4];
	unsigned cnt = 1 + (op >> 6);

	/* Room for what the fake driver needs; tables are taken from a pool that ends. */
	if (q->free_cnt < cnt)
		return;
	fg_alloc_reset(g);
	for (unsigned i = 0; i < cnt; i++) {
		uint8_t how = fz_u8(in);
		uint32_t len = how & 63;
		uint8_t bytes[64];

		b[i].gpa = fg_alloc(g, len, 1);
		b[i].len = len;
		b[i].write = how & 64;
		if (how & 128) {
			fz_bytes(in, bytes, len);
			fg_put(g, b[i].gpa, bytes, len);
		}
	}
	(void)fg_add(q, b, cnt, 0);
	if (op & 32)
		(void)fg_kick(q);
}

static void say(struct fg *g, struct fuzz_in *in)
{
	uint8_t m[8] = {0};
	struct fg_queue *q = fg_q(g, 3);

	if (!q->free_cnt)
		return;
	fg_alloc_reset(g);
	m[0] = fz_u8(in);
	m[4] = fz_u8(in);
	m[6] = fz_u8(in);
	(void)fg_add(q, &(struct fg_buf){fg_bytes(g, m, 8), 8, false}, 1, 0);
	(void)fg_kick(q);
}

static void step(struct fg *g, struct fuzz_in *in)
{
	uint8_t op = fz_u8(in);
	struct fg_queue *q = fg_q(g, fz_u8(in) & 7);
	unsigned port = q->idx % PORTS;
	uint8_t bytes[64];

	switch (op & 15) {
	case 0:
	case 1:
	case 2:
		add_chain(g, in, q, op);
		break;
	case 3:
	case 4:
	case 5:
		say(g, in);
		break;
	case 6:
		(void)fg_kick(q);
		break;
	case 7:
		/* A buffer may lie in the used ring: only a sane entry is taken back. */
		fg_get(g, q->used + 4 + 8ul * (q->last_used % q->num), bytes, 4);
		if (bytes[0] < q->num && !bytes[1] && !bytes[2] && !bytes[3])
			(void)fg_take(q, NULL);
		break;
	case 8:
		fz_bytes(in, bytes, sizeof(bytes));
		(void)vcon_send(dev, port, bytes, op & 16 ? 64 : 7);
		break;
	case 9:
	case 10:
		limit[port] = fz_u8(in);
		vcon_output_resume(dev, port);
		break;
	case 11:
		vcon_resize(dev, port, fz_u16(in), fz_u16(in));
		break;
	case 12:
		fg_desc(g, q->desc, fz_u8(in) % q->num, FG_BASE + fz_u32(in), fz_u16(in), op >> 5,
			fz_u8(in));
		break;
	case 13:
		fg_set_reg(g, 0x50, fz_u8(in));
		break;
	case 14:
		if (op & 16)
			fg_avail_raw(q, fz_u8(in));
		else
			fg_set_avail_idx(q, (uint16_t)(q->avail_idx + (op >> 4)));
		break;
	default:
		if (fg_start(g, op & 16 ? FG_ALL : op & 32 ? ~2ull : ~VIRTIO_F_EVENT_IDX) < 0)
			abort();
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct log_config quiet = {.program = "f", .file_fd = -1, .stderr_level = -1};
	struct vcon_port_config cfg[PORTS] = {{.console = true}, {.name = "a"}, {.name = "b"}};
	struct fuzz_in in = {data, len};
	struct err e = {0};
	struct fg *g;

	log_setup(&quiet);
	for (unsigned i = 0; i < PORTS; i++) {
		cfg[i].ops = &ops;
		cfg[i].ctx = &port_of[i];
		limit[i] = 100;
	}
	g = fg_new(32768, fz_u8(&in) & 1 ? FG_TINY_REGIONS : 0);
	if (vcon_new(&dev, "fuzz0", cfg, PORTS, &e) < 0)
		abort();
	fg_plug(g, dev, NULL);
	if (fg_start(g, FG_ALL) < 0)
		abort();
	while (in.left)
		step(g, &in);
	fg_reset(g);
	virtio_free(dev);
	fg_free(g);
	return 0;
}
