/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver against vq.c: descriptors, tables, indices and ring addresses as the input says.
 * Whatever is popped must lie in guest memory and add up.
 */
#include <stdlib.h>

#include "tests/fuzz/fuzz_input.h"
#include "tests/lib/fake_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define NUM 16u

struct taken {
	uint16_t head;
	size_t in_len;
};

static struct virtio_dev dev;
static struct iovec iov[VQ_SIZE_MAX + GMEM_REGIONS_MAX];
static struct taken taken[NUM];
static unsigned taken_cnt;
static uint8_t sum;

static void on_kick(struct virtio_dev *d, struct vq *q)
{
	(void)d;
	(void)q;
}

static void on_stop(struct virtio_dev *d)
{
	taken_cnt = 0;
	virtio_stopped(d);
}

static const struct virtio_ops ops = {.name = "fuzz", .id = 1, .kick = on_kick, .stop = on_stop};

static bool mapped(const struct gmem *m, const struct iovec *v)
{
	for (unsigned i = 0; i < m->cnt; i++) {
		const uint8_t *b = v->iov_base;

		if (b >= m->r[i].host && b < m->r[i].host + m->r[i].len &&
		    v->iov_len <= (size_t)(m->r[i].host + m->r[i].len - b))
			return true;
	}
	return false;
}

static void check(const struct gmem *m, const struct vq_chain *c)
{
	BUG_ON(c->out_cnt + c->in_cnt > c->cap);
	BUG_ON(iov_len(vq_out(c), c->out_cnt) != c->out_len);
	BUG_ON(iov_len(vq_in(c), c->in_cnt) != c->in_len);
	BUG_ON(c->out_len + c->in_len > UINT32_MAX);
	for (unsigned i = 0; i < c->out_cnt + c->in_cnt; i++) {
		uint8_t *b = iov[i].iov_base;

		BUG_ON(iov[i].iov_len == 0 || !mapped(m, &iov[i]));
		sum ^= b[0] ^ b[iov[i].iov_len - 1];
		if (i >= c->out_cnt)
			b[iov[i].iov_len - 1] = sum;
	}
}

static void pop(struct fg *g, struct vq *v, uint16_t cap)
{
	struct vq_chain c = {.iov = iov, .cap = cap % (ARRAY_LEN(iov) + 1)};

	if (vq_pop(v, &c) != 1)
		return;
	check(fg_mem(g), &c);
	BUG_ON(taken_cnt == NUM);
	taken[taken_cnt++] = (struct taken){c.head, c.in_len};
}

static void push(struct vq *v, unsigned which)
{
	if (!taken_cnt)
		return;
	which %= taken_cnt;
	vq_push(v, taken[which].head, (uint32_t)taken[which].in_len);
	taken[which] = taken[--taken_cnt];
}

/* Guest addresses from 16 bits: near the rings, the data, or nowhere. */
static uint64_t address(struct fuzz_in *in)
{
	uint16_t v = fz_u16(in);

	switch (v >> 14) {
	case 0:
		return FG_BASE + (v & 0x3fff);
	case 1:
	case 2:
		return FG_BASE + (4u << 20) + (v & 0x3fff);
	default:
		return fz_u64(in);
	}
}

static void restart(struct fg *g, struct fuzz_in *in)
{
	static const uint8_t reg[] = {0x38, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0x44};
	uint8_t change = fz_u8(in);

	if (fg_negotiate(g, change & 1 ? FG_ALL : FG_ALL & ~VIRTIO_F_EVENT_IDX) < 0)
		return;
	(void)fg_setup_queue(g, 0, NUM >> (change >> 6));
	for (unsigned i = 0; change & 2 && i < ARRAY_LEN(reg); i++)
		if (change & 4)
			fg_set_reg(g, reg[i], fz_u32(in));
	fg_go(g);
}

static void step(struct fg *g, struct fuzz_in *in)
{
	struct fg_queue *q = fg_q(g, 0);
	struct vq *v = &dev.vq[0];
	uint8_t op = fz_u8(in), bytes[64];
	uint64_t at;

	switch (op & 15) {
	case 0:
	case 1:
	case 2:
		at = op & 16 ? address(in) & ~15ull : q->desc;
		if (!fg_host(g, at) || !fg_host(g, at + 16 * 16 - 1))
			return;
		/* Forced: address, length, flags, next. */
		bytes[0] = fz_u8(in);
		fg_desc(g, at, bytes[0] & 15, address(in), op & 32 ? fz_u32(in) : fz_u8(in) * 16u,
			op >> 6 | (bytes[0] & 16 ? 4 : 0), fz_u8(in) & (op & 32 ? 255 : 15));
		break;
	case 3:
	case 4:
		fg_avail_raw(q, fz_u8(in) & (op & 16 ? 255 : 15));
		break;
	case 5:
		fg_set_avail_idx(q, fz_u16(in));
		break;
	case 6:
	case 7:
	case 8:
		pop(g, v, op & 16 ? fz_u16(in) : ARRAY_LEN(iov));
		break;
	case 9:
	case 10:
		push(v, fz_u8(in));
		break;
	case 11:
		vq_notify(v);
		break;
	case 12:
		if (op & 16)
			(void)vq_kicks_on(v);
		else
			vq_kicks_off(v);
		break;
	case 13:
		fz_bytes(in, bytes, sizeof(bytes));
		at = address(in);
		for (unsigned i = 0; i < sizeof(bytes); i++)
			if (fg_host(g, at + i))
				*fg_host(g, at + i) = bytes[i];
		break;
	case 14:
		if (op & 16)
			fg_set_reg(g, fz_u8(in) & 0xfc, fz_u32(in));
		else
			(void)fg_kick(q);
		break;
	default:
		restart(g, in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct log_config quiet = {.program = "f", .file_fd = -1, .stderr_level = -1};
	static const uint16_t max[] = {NUM};
	struct fuzz_in in = {data, len};
	struct fg *g;

	log_setup(&quiet);
	g = fg_new(32768, fz_u8(&in) & 1 ? FG_TINY_REGIONS : 0);
	if (virtio_init(&dev, &ops, "fuzz0", 0, 1, max, 0) < 0)
		abort();
	taken_cnt = 0;
	fg_plug(g, &dev, NULL);
	if (fg_start(g, FG_ALL) < 0)
		abort();
	while (in.left)
		step(g, &in);
	fg_reset(g);
	virtio_fini(&dev);
	fg_free(g);
	return 0;
}
