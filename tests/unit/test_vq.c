/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vq.c against a fake driver: what a good ring gives, what a bad one is refused for, in both ring
 * formats of chains and on whole and shredded guest memory.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/lib/fake_guest.h"

/* A device that does nothing by itself: the tests pop and push. */
struct probe {
	struct virtio_dev dev;
	unsigned kicks, stops;
	struct iovec iov[VQ_SIZE_MAX + GMEM_REGIONS_MAX];
	struct vq_chain c;
};

static void probe_kick(struct virtio_dev *dev, struct vq *q)
{
	(void)q;
	((struct probe *)dev)->kicks++;
}

static void probe_stop(struct virtio_dev *dev)
{
	((struct probe *)dev)->stops++;
	virtio_stopped(dev);
}

static const struct virtio_ops probe_ops = {
    .name = "probe", .id = 42, .kick = probe_kick, .stop = probe_stop};

static struct probe p;
static struct fg *g;
static struct fg_queue *q; /* of the driver */
static struct vq *v;	   /* of the device */

#define NUM 8u

static void begin(uint64_t features, unsigned flags)
{
	static const uint16_t max[] = {NUM, 256};
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};

	log_setup(&quiet);
	g = fg_new(1 << 20, flags);
	cr_assert_eq(virtio_init(&p.dev, &probe_ops, "probe0", 0, 2, max, 0), 0);
	p.c = (struct vq_chain){.iov = p.iov, .cap = ARRAY_LEN(p.iov)};
	fg_plug(g, &p.dev, NULL);
	cr_assert_eq(fg_start(g, features), 0);
	q = fg_q(g, 0);
	v = &p.dev.vq[0];
}

static void end(void)
{
	fg_reset(g);
	virtio_fini(&p.dev);
	fg_free(g);
}

static int pop(void)
{
	return vq_pop(v, &p.c);
}

/* The device has failed, says so, and gives nothing any more until the reset, after which it works.
 */
static void failed(void)
{
	unsigned irqs = fg_irqs(g);

	cr_assert_lt(pop(), 0);
	cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET);
	cr_assert_eq(fg_irqs(g), irqs + 1);
	cr_assert(fg_reg(g, 0x60) & VIRTIO_IRQ_CONFIG);
	cr_assert_eq(pop(), 0);
	cr_assert_not(vq_pending(v));
	cr_assert_eq(p.dev.faults, 1);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_eq(fg_reg(g, 0x70), 15);
	(void)fg_add(q, &(struct fg_buf){fg_alloc(g, 1, 1), 1, true}, 1, 0);
	cr_assert_eq(pop(), 1);
	vq_push(v, p.c.head, 0);
	end();
}

#define PLAIN (FG_ALL & ~VIRTIO_F_EVENT_IDX & ~VIRTIO_F_INDIRECT_DESC)

/* ---- what works ------------------------------------------------------------------------------ */

struct way {
	unsigned region_flags, add_flags;
};

ParameterizedTestParameters(vq, round_trip)
{
	static struct way ways[] = {
	    {0, 0}, {0, FG_INDIRECT}, {FG_TINY_REGIONS, 0}, {FG_TINY_REGIONS, FG_INDIRECT}};

	return cr_make_param_array(struct way, ways, ARRAY_LEN(ways));
}

ParameterizedTest(struct way *w, vq, round_trip)
{
	char text[300], back[300];
	uint32_t written;

	begin(FG_ALL, w->region_flags);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7);
	/* Long enough for the 16-bit index to wrap, and for every descriptor to be reused. */
	for (unsigned round = 0; round < 70000; round++) {
		struct fg_buf b[3];
		uint16_t head;

		fg_alloc_reset(g);
		b[0] = (struct fg_buf){fg_alloc(g, 3, 1), 3, false};
		b[1] = (struct fg_buf){fg_alloc(g, 200, 1), 200, false};
		b[2] = (struct fg_buf){fg_alloc(g, 300, 1), 300, true};
		if (round > 100 && (w->add_flags & FG_INDIRECT))
			break; /* tables are not recycled */
		if (round < 100) {
			fg_put(g, b[0].gpa, text, 3);
			fg_put(g, b[1].gpa, text + 3, 200);
		}
		head = fg_add(q, b, 3, w->add_flags);
		cr_assert(vq_pending(v));
		cr_assert_eq(pop(), 1);
		cr_assert_eq(p.c.head, head);
		cr_assert_eq(p.c.out_len, 203);
		cr_assert_eq(p.c.in_len, 300);
		cr_assert_eq(iov_len(vq_out(&p.c), p.c.out_cnt), 203);
		cr_assert_eq(iov_len(vq_in(&p.c), p.c.in_cnt), 300);
		if (round < 100) {
			cr_assert_eq(iov_read(vq_out(&p.c), p.c.out_cnt, 0, back, 300), 203);
			cr_assert_eq(memcmp(back, text, 203), 0);
			cr_assert_eq(iov_write(vq_in(&p.c), p.c.in_cnt, 0, text, 300), 300);
		}
		vq_push(v, p.c.head, 300);
		cr_assert_eq(fg_take(q, &written), head);
		cr_assert_eq(written, 300);
		if (round < 100) {
			fg_get(g, b[2].gpa, back, 300);
			cr_assert_eq(memcmp(back, text, 300), 0);
		}
		cr_assert_eq(pop(), 0);
	}
	cr_assert_eq(p.dev.faults, 0);
	end();
}

Test(vq, plain_descriptors_before_an_indirect_one)
{
	uint64_t table, buf;

	begin(FG_ALL, 0);
	table = fg_alloc(g, 64, 16);
	buf = fg_alloc(g, 64, 1);
	fg_desc(g, q->desc, 0, buf, 10, FG_D_NEXT, 5);
	/* The write flag of the indirect descriptor itself means nothing (2.7.5.3.2). */
	fg_desc(g, q->desc, 5, table, 32, FG_D_INDIRECT | FG_D_WRITE, 0);
	fg_desc(g, table, 0, buf + 20, 5, FG_D_NEXT, 1);
	fg_desc(g, table, 1, buf + 30, 7, FG_D_WRITE, 0);
	fg_avail_raw(q, 0);
	cr_assert_eq(pop(), 1);
	cr_assert_eq(p.c.out_len, 15);
	cr_assert_eq(p.c.in_len, 7);
	vq_push(v, 0, 7);
	end();
}

Test(vq, empty_buffers_are_nothing)
{
	begin(FG_ALL, 0);
	fg_desc(g, q->desc, 0, 0, 0, FG_D_NEXT, 1);
	fg_desc(g, q->desc, 1, FG_BASE, 0, FG_D_WRITE, 0);
	fg_avail_raw(q, 0);
	cr_assert_eq(pop(), 1);
	cr_assert_eq(p.c.out_cnt + p.c.in_cnt, 0);
	vq_push(v, 0, 0);
	end();
}

Test(vq, an_indirect_table_may_be_longer_than_the_queue)
{
	struct fg_buf b[4 * NUM];

	begin(FG_ALL, 0);
	for (unsigned i = 0; i < ARRAY_LEN(b); i++)
		b[i] = (struct fg_buf){fg_alloc(g, 16, 1) + (i & 1), 8, false};
	(void)fg_add(q, b, ARRAY_LEN(b), FG_INDIRECT);
	cr_assert_eq(pop(), 1);
	cr_assert_eq(p.c.out_len, 8 * ARRAY_LEN(b));
	vq_push(v, p.c.head, 0);
	end();
}

Test(vq, refuses_a_table_longer_than_ours)
{
	uint64_t table;

	begin(FG_ALL, 0);
	table = fg_alloc(g, 16 * (VQ_SIZE_MAX + 1), 16);
	fg_desc(g, table, 0, FG_BASE + (2u << 20), 1, 0, 0);
	fg_desc(g, q->desc, 0, table, 16 * (VQ_SIZE_MAX + 1), FG_D_INDIRECT, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, adjacent_buffers_are_one_span_but_never_across_the_direction)
{
	uint64_t buf;

	begin(FG_ALL, 0);
	buf = fg_alloc(g, 64, 1);
	(void)fg_add(
	    q, (struct fg_buf[]){{buf, 8, false}, {buf + 8, 8, false}, {buf + 16, 8, true}}, 3, 0);
	cr_assert_eq(pop(), 1);
	cr_assert_eq(p.c.out_cnt, 1);
	cr_assert_eq(p.c.in_cnt, 1);
	cr_assert_eq(vq_in(&p.c)->iov_base, fg_host(g, buf + 16));
	vq_push(v, p.c.head, 0);
	end();
}

Test(vq, completes_out_of_order)
{
	uint16_t h[4];

	begin(FG_ALL, 0);
	for (unsigned i = 0; i < 4; i++) {
		h[i] = fg_add(q, &(struct fg_buf){fg_alloc(g, 8, 1), 8, true}, 1, 0);
		cr_assert_eq(pop(), 1);
	}
	for (unsigned i = 4; i-- > 0;)
		vq_push(v, h[i], i);
	for (unsigned i = 4; i-- > 0;) {
		uint32_t written;

		cr_assert_eq(fg_take(q, &written), h[i]);
		cr_assert_eq(written, i);
	}
	end();
}

/* ---- rules, each of which has its refusal ---------------------------------------------------- */

Test(vq, refuses_a_head_outside_of_the_ring)
{
	begin(FG_ALL, 0);
	fg_avail_raw(q, NUM);
	failed();
}

Test(vq, refuses_an_index_too_far_ahead)
{
	begin(FG_ALL, 0);
	fg_set_avail_idx(q, NUM + 1);
	failed();
}

Test(vq, refuses_an_index_that_went_back)
{
	begin(FG_ALL, 0);
	fg_set_avail_idx(q, UINT16_MAX);
	failed();
}

Test(vq, a_full_ring_is_fine)
{
	begin(FG_ALL, 0);
	for (unsigned i = 0; i < NUM; i++)
		(void)fg_add(q, &(struct fg_buf){fg_alloc(g, 8, 1), 8, true}, 1, 0);
	for (unsigned i = 0; i < NUM; i++)
		cr_assert_eq(pop(), 1);
	cr_assert_eq(pop(), 0);
	end();
}

Test(vq, refuses_a_next_outside_of_the_ring)
{
	begin(FG_ALL, 0);
	fg_desc(g, q->desc, 0, FG_BASE, 1, FG_D_NEXT, NUM);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_loop)
{
	begin(FG_ALL, 0);
	fg_desc(g, q->desc, 0, FG_BASE, 0, FG_D_NEXT, 1);
	fg_desc(g, q->desc, 1, FG_BASE, 0, FG_D_NEXT, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_loop_in_a_table)
{
	uint64_t table;

	begin(FG_ALL, 0);
	table = fg_alloc(g, 64, 16);
	fg_desc(g, q->desc, 0, table, 32, FG_D_INDIRECT, 0);
	fg_desc(g, table, 0, FG_BASE, 0, FG_D_NEXT, 1);
	fg_desc(g, table, 1, FG_BASE, 0, FG_D_NEXT, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_next_outside_of_the_table)
{
	uint64_t table;

	begin(FG_ALL, 0);
	table = fg_alloc(g, 64, 16);
	fg_desc(g, table, 0, FG_BASE, 1, FG_D_NEXT, 2);
	fg_desc(g, table, 2, FG_BASE, 1, 0, 0);
	/* With the third entry it is good; then the table ends before it, where a good one is left.
	 */
	fg_desc(g, q->desc, 0, table, 48, FG_D_INDIRECT, 0);
	fg_avail_raw(q, 0);
	cr_assert_eq(pop(), 1);
	vq_push(v, 0, 0);
	fg_desc(g, q->desc, 0, table, 32, FG_D_INDIRECT, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_table_in_a_table)
{
	uint64_t table;

	begin(FG_ALL, 0);
	table = fg_alloc(g, 64, 16);
	fg_desc(g, q->desc, 0, table, 16, FG_D_INDIRECT, 0);
	fg_desc(g, table, 0, table + 16, 16, FG_D_INDIRECT, 0);
	fg_desc(g, table, 1, FG_BASE, 1, 0, 0);
	fg_avail_raw(q, 0);
	failed();
}

ParameterizedTestParameters(vq, refuses_a_table_of_odd_size)
{
	static uint32_t len[] = {0, 8, 17, 16 * (VQ_SIZE_MAX + 1), UINT32_MAX & ~15u, UINT32_MAX};

	return cr_make_param_array(uint32_t, len, ARRAY_LEN(len));
}

ParameterizedTest(uint32_t *len, vq, refuses_a_table_of_odd_size)
{
	begin(FG_ALL, 0);
	fg_desc(g, q->desc, 0, fg_alloc(g, 16 * (VQ_SIZE_MAX + 1), 16), *len, FG_D_INDIRECT, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_table_outside_of_memory)
{
	begin(FG_ALL, 0);
	fg_desc(g, q->desc, 0, 0x1000, 32, FG_D_INDIRECT, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_table_with_something_after_it)
{
	uint64_t table;

	begin(FG_ALL, 0);
	table = fg_alloc(g, 64, 16);
	fg_desc(g, table, 0, FG_BASE, 1, 0, 0);
	fg_desc(g, q->desc, 0, table, 16, FG_D_INDIRECT | FG_D_NEXT, 1);
	fg_desc(g, q->desc, 1, FG_BASE, 1, 0, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_table_that_was_not_negotiated)
{
	uint64_t table;

	begin(PLAIN, 0);
	table = fg_alloc(g, 64, 16);
	fg_desc(g, table, 0, FG_BASE, 1, 0, 0);
	fg_desc(g, q->desc, 0, table, 16, FG_D_INDIRECT, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_readable_after_writable)
{
	begin(FG_ALL, 0);
	fg_desc(g, q->desc, 0, FG_BASE, 1, FG_D_NEXT | FG_D_WRITE, 1);
	fg_desc(g, q->desc, 1, FG_BASE, 1, 0, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_buffer_outside_of_memory)
{
	uint64_t end_gpa;

	begin(FG_ALL, 0);
	end_gpa = g ? fg_mem(g)->r[1].gpa + fg_mem(g)->r[1].len : 0;
	fg_desc(g, q->desc, 0, end_gpa - 1, 2, 0, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_buffer_that_wraps)
{
	begin(FG_ALL, 0);
	fg_desc(g, q->desc, 0, UINT64_MAX - 1, 16, 0, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_write_to_read_only_memory)
{
	static uint8_t rom[64];

	begin(FG_ALL, 0);
	cr_assert_eq(gmem_add(fg_mem(g), 0x1000, sizeof(rom), rom, true), 0);
	fg_desc(g, q->desc, 0, 0x1000, 8, 0, 0);
	fg_avail_raw(q, 0);
	cr_assert_eq(pop(), 1);
	vq_push(v, 0, 0);
	fg_desc(g, q->desc, 0, 0x1000, 8, FG_D_WRITE, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_more_than_4_gib)
{
	const uint64_t len = 1ull << 31;
	uint8_t *big;

	begin(FG_ALL, 0);
	/* Never touched: address space only. */
	big = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	cr_assert_neq(big, MAP_FAILED);
	cr_assert_eq(gmem_add(fg_mem(g), 1ull << 40, len, big, false), 0);
	fg_desc(g, q->desc, 0, 1ull << 40, 1u << 31, FG_D_NEXT, 1);
	fg_desc(g, q->desc, 1, 1ull << 40, (1u << 31) - 1, FG_D_WRITE, 0);
	fg_avail_raw(q, 0);
	cr_assert_eq(pop(), 1);
	cr_assert_eq(p.c.out_len + p.c.in_len, UINT32_MAX);
	vq_push(v, 0, 0);
	fg_desc(g, q->desc, 1, 1ull << 40, 1u << 31, FG_D_WRITE, 0);
	fg_avail_raw(q, 0);
	failed();
}

Test(vq, refuses_a_head_in_flight)
{
	begin(FG_ALL, 0);
	fg_desc(g, q->desc, 3, FG_BASE, 1, FG_D_WRITE, 0);
	fg_avail_raw(q, 3);
	cr_assert_eq(pop(), 1);
	vq_push(v, 3, 0);
	fg_avail_raw(q, 3);
	cr_assert_eq(pop(), 1, "given back: again welcome");
	fg_avail_raw(q, 3);
	failed();
}

Test(vq, refuses_more_pieces_than_the_device_has_room_for)
{
	struct fg_buf b[4];

	begin(FG_ALL, 0);
	p.c.cap = 3;
	for (unsigned i = 0; i < 4; i++)
		b[i] = (struct fg_buf){fg_alloc(g, 16, 1), 8, i > 1};
	(void)fg_add(q, b, 3, 0);
	cr_assert_eq(pop(), 1);
	vq_push(v, p.c.head, 0);
	(void)fg_add(q, b, 4, 0);
	failed();
}

/* ---- fetched once ---------------------------------------------------------------------------- */

/* After the first access: another CPU makes the descriptor as bad as can be. */
static void poison_desc(void *ctx, uint64_t gpa, unsigned count)
{
	uint64_t all = UINT64_MAX;

	(void)ctx;
	(void)count;
	fg_put(g, gpa & ~7ull, &all, 8);
}

static void poison_head(void *ctx, uint64_t gpa, unsigned count)
{
	uint16_t bad = 0xffff;

	(void)ctx;
	(void)count;
	if (gpa == q->avail + 4)
		fg_put(g, gpa, &bad, 2);
}

#if defined(__x86_64__)
Test(vq, fetches_a_descriptor_once)
{
	uint64_t buf;
	int rc;

	begin(FG_ALL, 0);
	buf = fg_alloc(g, 64, 1);
	(void)fg_add(q, (struct fg_buf[]){{buf, 8, false}, {buf + 32, 8, true}}, 2, 0);
	fg_watch_begin(g, q->desc, 64, poison_desc, NULL);
	rc = pop();
	cr_assert_eq(fg_watch_end(g), 1, "each word is loaded exactly once");
	cr_assert_eq(rc, 1);
	cr_assert_eq(p.c.out_len, 8);
	cr_assert_eq(p.c.in_len, 8);
	cr_assert_eq(vq_out(&p.c)->iov_base, fg_host(g, buf));
	cr_assert_eq(vq_in(&p.c)->iov_base, fg_host(g, buf + 32));
	end();
}

/* The middle of a long table: at its ends memcpy() itself may load the same bytes twice. */
Test(vq, fetches_a_table_once)
{
	uint64_t buf, table;
	int rc;

	begin(FG_ALL, 0);
	buf = fg_alloc(g, 4096, 1);
	table = fg_alloc(g, 4096, 4096);
	for (unsigned i = 0; i < 128; i++)
		fg_desc(g, table, i, buf + 16 * i, 8, i < 127 ? FG_D_NEXT : 0, i + 1);
	fg_desc(g, q->desc, 0, table, 16 * 128, FG_D_INDIRECT, 0);
	fg_avail_raw(q, 0);
	fg_watch_begin(g, table + 512, 1024, poison_desc, NULL);
	rc = pop();
	cr_assert_eq(fg_watch_end(g), 1);
	cr_assert_eq(rc, 1);
	cr_assert_eq(p.c.out_cnt, 128);
	cr_assert_eq(p.c.out_len, 128 * 8);
	end();
}

Test(vq, fetches_a_head_once)
{
	int rc;

	begin(FG_ALL, 0);
	(void)fg_add(q, &(struct fg_buf){fg_alloc(g, 8, 1), 8, true}, 1, 0);
	fg_watch_begin(g, q->avail + 4, 2, poison_head, NULL);
	rc = pop();
	cr_assert_eq(fg_watch_end(g), 1);
	cr_assert_eq(rc, 1);
	cr_assert_eq(p.c.head, 0);
	end();
}
#endif

/* ---- latched at DRIVER_OK -------------------------------------------------------------------- */

Test(vq, registers_have_no_effect_on_a_running_queue)
{
	begin(FG_ALL, 0);
	fg_set_reg(g, 0x30, 0);
	fg_set_reg(g, 0x38, 4);
	fg_set_reg(g, 0x80, 0xdead0000);
	fg_set_reg(g, 0x44, 0);
	cr_assert_eq(v->size, NUM);
	cr_assert_eq(v->desc_gpa, q->desc);
	cr_assert_eq(fg_reg(g, 0x44), 1);
	for (unsigned i = 0; i < NUM; i++)
		(void)fg_add(q, &(struct fg_buf){fg_alloc(g, 8, 1), 8, true}, 1, 0);
	for (unsigned i = 0; i < NUM; i++)
		cr_assert_eq(pop(), 1);
	end();
}

static void start_with(unsigned num, uint64_t desc_off, uint64_t avail_off, uint64_t used_off)
{
	begin(FG_ALL, 0);
	cr_assert_eq(fg_negotiate(g, FG_ALL), 0);
	q = fg_setup_queue(g, 0, NUM);
	fg_set_reg(g, 0x38, num);
	fg_set_reg(g, 0x80, (uint32_t)(q->desc + desc_off));
	fg_set_reg(g, 0x90, (uint32_t)(q->avail + avail_off));
	fg_set_reg(g, 0xa0, (uint32_t)(q->used + used_off));
	fg_go(g);
}

Test(vq, refuses_to_start_with_a_bad_ring)
{
	static const struct {
		unsigned num;
		uint64_t desc_off, avail_off, used_off;
	} bad[] = {
	    {0, 0, 0, 0},	   {3, 0, 0, 0},	  {2 * NUM, 0, 0, 0}, {65536 + 8, 0, 0, 0},
	    {NUM, 8, 0, 0},	   {NUM, 0, 1, 0},	  {NUM, 0, 0, 2},     {NUM, 1u << 31, 0, 0},
	    {NUM, 0, 1u << 31, 0}, {NUM, 0, 0, 1u << 31},
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		start_with(bad[i].num, bad[i].desc_off, bad[i].avail_off, bad[i].used_off);
		cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "case %u", i);
		cr_assert_not(v->live);
		cr_assert_eq(pop(), 0);
		end();
	}
	start_with(NUM / 2, 16, 2, 4);
	cr_assert_eq(fg_reg(g, 0x70), 15);
	cr_assert(v->live);
	end();
}

Test(vq, refuses_rings_that_end_outside)
{
	uint64_t top;

	start_with(NUM, 0, 0, 0);
	end();
	for (unsigned which = 0; which < 3; which++) {
		static const unsigned reg[] = {0x80, 0x90, 0xa0};
		const unsigned len[] = {16 * NUM, 6 + 2 * NUM, 6 + 8 * NUM};

		for (unsigned over = 0; over < 2; over++) {
			begin(FG_ALL, 0);
			top = fg_mem(g)->r[1].gpa + fg_mem(g)->r[1].len;
			cr_assert_eq(fg_negotiate(g, FG_ALL), 0);
			q = fg_setup_queue(g, 0, NUM);
			/* The last place that is aligned and fits, and 16 bytes behind it. */
			fg_set_reg(g, reg[which],
				   (uint32_t)(ALIGN_DOWN(top - len[which], 16ull) + 16 * over));
			fg_go(g);
			cr_assert_eq(!!(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET), over);
			end();
		}
	}
}

Test(vq, a_queue_that_is_not_ready_is_dead)
{
	begin(FG_ALL, 0);
	cr_assert_eq(fg_negotiate(g, FG_ALL), 0);
	q = fg_setup_queue(g, 0, 0);
	fg_set_reg(g, 0x44, 0);
	fg_go(g);
	fg_avail_raw(q, 0);
	fg_set_reg(g, 0x50, 0);
	cr_assert_eq(p.kicks, 0);
	cr_assert_eq(pop(), 0);
	end();
}

/* ---- kicks and interrupts -------------------------------------------------------------------- */

static void add1(void)
{
	(void)fg_add(q, &(struct fg_buf){fg_alloc(g, 8, 1), 8, true}, 1, 0);
}

Test(vq, with_event_idx_an_empty_pop_arms_the_kick)
{
	begin(FG_ALL, 0);
	for (unsigned i = 0; i < 3; i++) {
		add1();
		cr_assert(fg_kick(q));
		add1();
		cr_assert_not(fg_kick(q), "one is enough");
		while (pop() == 1)
			vq_push(v, p.c.head, 0);
		while (fg_take(q, NULL) >= 0)
			;
	}
	cr_assert_eq(p.kicks, 3);
	/* Off: nobody kicks, until on, which tells what has come meanwhile. */
	vq_kicks_off(v);
	cr_assert_eq(pop(), 0);
	add1();
	cr_assert_eq(pop(), 1);
	vq_push(v, p.c.head, 0);
	cr_assert_eq(pop(), 0);
	(void)fg_kick(q); /* armed before: one may still come */
	add1();
	cr_assert_not(fg_kick(q));
	cr_assert(vq_kicks_on(v));
	cr_assert_eq(pop(), 1);
	cr_assert_not(vq_kicks_on(v));
	add1();
	cr_assert(fg_kick(q));
	end();
}

Test(vq, without_event_idx_the_flag_stops_kicks)
{
	begin(PLAIN, 0);
	add1();
	cr_assert(fg_kick(q));
	vq_kicks_off(v);
	add1();
	cr_assert_not(fg_kick(q));
	cr_assert(vq_kicks_on(v));
	add1();
	cr_assert(fg_kick(q));
	end();
}

static void push1(void)
{
	add1();
	cr_assert_eq(pop(), 1);
	vq_push(v, p.c.head, 0);
}

Test(vq, with_event_idx_interrupts_come_when_the_event_is_passed)
{
	begin(FG_ALL, 0);
	vq_notify(v);
	cr_assert_eq(fg_irqs(g), 0, "nothing was pushed");
	push1();
	vq_notify(v);
	cr_assert_eq(fg_irqs(g), 1);
	vq_notify(v);
	cr_assert_eq(fg_irqs(g), 1, "nothing new");
	/* The driver wants to hear when the fourth is there: used.idx passes 3. */
	cr_assert_eq(fg_take(q, NULL), 0);
	fg_set_used_event(q, 3);
	push1();
	push1();
	vq_notify(v);
	cr_assert_eq(fg_irqs(g), 1);
	push1();
	vq_notify(v);
	cr_assert_eq(fg_irqs(g), 2);
	cr_assert_eq(fg_reg(g, 0x60), VIRTIO_IRQ_VQ);
	cr_assert_eq(v->interrupts, 2);
	end();
}

Test(vq, without_event_idx_the_flag_stops_interrupts)
{
	begin(PLAIN, 0);
	fg_set_no_interrupt(q, true);
	push1();
	vq_notify(v);
	cr_assert_eq(fg_irqs(g), 0);
	fg_set_no_interrupt(q, false);
	push1();
	vq_notify(v);
	cr_assert_eq(fg_irqs(g), 1);
	end();
}

Test(vq, a_whole_turn_of_the_index_still_interrupts)
{
	begin(FG_ALL, 0);
	push1();
	vq_notify(v);
	while (fg_take(q, NULL) >= 0)
		;
	fg_set_used_event(q, 100);
	for (unsigned i = 0; i < 65536; i++) {
		fg_alloc_reset(g);
		push1();
		(void)fg_take(q, NULL);
	}
	fg_set_used_event(q, 100);
	vq_notify(v);
	cr_assert_eq(fg_irqs(g), 2);
	end();
}

Test(vq, a_failed_device_writes_nothing_to_the_guest)
{
	begin(FG_ALL, 0);
	add1();
	cr_assert_eq(pop(), 1);
	virtio_fail(&p.dev, "because");
	vq_push(v, p.c.head, 1);
	vq_notify(v);
	cr_assert_eq(fg_take(q, NULL), -1);
	end();
}
