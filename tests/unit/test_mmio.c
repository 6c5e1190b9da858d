/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio.c and core.c: the register file, the status machine, and a reset that has to wait.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "tests/lib/fake_guest.h"
#include "virtio/snap.h"

#define DEV_BIT (1ull << 3)

/* A device whose drain ends when the test says so. */
struct slow {
	struct virtio_dev dev;
	int start_rc;
	unsigned starts, kicks, stops, writes;
	size_t write_off, write_len;
	bool hold; /* stop() does not end by itself */
};

static int slow_start(struct virtio_dev *dev)
{
	struct slow *s = (struct slow *)dev;

	s->starts++;
	return s->start_rc;
}

static void slow_kick(struct virtio_dev *dev, struct vq *q)
{
	(void)q;
	((struct slow *)dev)->kicks++;
}

static void slow_stop(struct virtio_dev *dev)
{
	struct slow *s = (struct slow *)dev;

	s->stops++;
	if (!s->hold)
		virtio_stopped(dev);
}

static void slow_cfg(struct virtio_dev *dev, size_t off, size_t len)
{
	struct slow *s = (struct slow *)dev;

	s->writes++;
	s->write_off = off;
	s->write_len = len;
}

static const struct virtio_ops slow_ops = {.name = "slow",
					   .id = 42,
					   .start = slow_start,
					   .kick = slow_kick,
					   .stop = slow_stop,
					   .cfg_write = slow_cfg};

static struct slow d;
static struct fg *g;
static struct loop *l;

static void begin_with(struct loop *loop)
{
	static const uint16_t max[] = {8, 64};
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};

	log_setup(&quiet);
	g = fg_new(1 << 20, 0);
	cr_assert_eq(virtio_init(&d.dev, &slow_ops, "slow0", DEV_BIT, 2, max, 20), 0);
	for (unsigned i = 0; i < 20; i++)
		d.dev.cfg[i] = (uint8_t)(i + 1);
	d.dev.cfg_rw_off = 4;
	d.dev.cfg_rw_len = 8;
	fg_plug(g, &d.dev, loop);
}

static void begin(void)
{
	begin_with(NULL);
}

static void end(void)
{
	virtio_fini(&d.dev);
	fg_free(g);
}

static uint8_t *page;

static void begin_shown(void)
{
	begin();
	page = fg_slot(g)->page;
	cr_assert_not_null(page);
}

static uint32_t shown(unsigned off)
{
	uint32_t v;

	memcpy(&v, page + off, sizeof(v));
	return le32toh(v);
}

/* ---- registers ------------------------------------------------------------------------------- */

Test(mmio, identity)
{
	begin();
	cr_assert_eq(fg_reg(g, 0x00), 0x74726976);
	cr_assert_eq(fg_reg(g, 0x04), 2);
	cr_assert_eq(fg_reg(g, 0x08), 42);
	cr_assert_neq(fg_reg(g, 0x0c), 0);
	for (unsigned r = 0xb0; r <= 0xbc; r += 4)
		cr_assert_eq(fg_reg(g, r), UINT32_MAX, "no shared memory: %#x", r);
	end();
}

Test(mmio, an_empty_slot_is_device_0_until_plugged)
{
	struct vmmio s;
	uint64_t all = UINT64_MAX;
	uint32_t v;

	begin();
	vmmio_init(&s, 3, NULL, NULL);
	for (unsigned r = 0; r < VMMIO_WINDOW; r += 4) {
		vmmio_write(&s, r, &all, 4);
		vmmio_read(&s, r, &v, 4);
		cr_assert_eq(v, r == 0 ? 0x74726976 : r == 4 ? 2 : 0, "register %#x", r);
	}
	vmmio_plug(&s, &d.dev, fg_mem(g), NULL);
	vmmio_read(&s, 8, &v, 4);
	cr_assert_eq(v, 42);
	/* Without anybody to take the interrupt it is only noted. */
	virtio_irq(&d.dev, VIRTIO_IRQ_VQ);
	vmmio_read(&s, 0x60, &v, 4);
	cr_assert_eq(v, 1);
	end();
}

static struct vmmio unplugged;
static bool was_quiet;

/* A register access of a vCPU that is under way: the slot is emptied within it. */
static void unplug_within(struct virtio_dev *dev, size_t off, size_t len)
{
	(void)dev;
	(void)off;
	(void)len;
	vmmio_unplug(&unplugged);
	was_quiet = vmmio_is_quiet(&unplugged);
}

Test(mmio, an_emptied_slot_is_quiet_when_nobody_is_in_it)
{
	static struct virtio_ops ops;
	uint32_t v = 1;

	begin();
	ops = slow_ops;
	ops.cfg_write = unplug_within;
	d.dev.ops = &ops;
	vmmio_init(&unplugged, 3, NULL, NULL);
	vmmio_plug(&unplugged, &d.dev, fg_mem(g), NULL);
	cr_expect_not(vmmio_is_quiet(&unplugged), "a slot in use");
	vmmio_write(&unplugged, 0x14, &v, 4); /* a selector that the next device must not see */
	was_quiet = true;
	vmmio_write(&unplugged, 0x100 + d.dev.cfg_rw_off, &v, 1);
	cr_expect_not(was_quiet, "freed under a vCPU");
	cr_expect(vmmio_is_quiet(&unplugged));
	vmmio_read(&unplugged, 8, &v, 4);
	cr_expect_eq(v, 0, "the slot is empty");
	vmmio_plug(&unplugged, &d.dev, fg_mem(g), NULL);
	vmmio_read(&unplugged, 8, &v, 4);
	cr_expect_eq(v, 42);
	vmmio_read(&unplugged, 0x10, &v, 4);
	cr_expect_eq(v & DEV_BIT, DEV_BIT & UINT32_MAX, "features of another word");
	end();
}

Test(mmio, registers_answer_aligned_words_only)
{
	uint8_t buf[8];
	static const uint8_t zero[8];

	begin();
	for (unsigned len = 1; len <= 8; len *= 2) {
		for (unsigned off = 0; off < 0x100; off++) {
			if (len == 4 && off % 4 == 0)
				continue;
			memset(buf, 0xee, sizeof(buf));
			vmmio_read(fg_slot(g), off, buf, len);
			cr_assert_eq(memcmp(buf, zero, len), 0, "%u bytes at %#x", len, off);
			if (len < 8)
				cr_assert_eq(buf[len], 0xee);
		}
	}
	memset(buf, 1, sizeof(buf));
	vmmio_write(fg_slot(g), 0x70, buf, 1);
	vmmio_write(fg_slot(g), 0x70, buf, 2);
	vmmio_write(fg_slot(g), 0x70, buf, 8);
	cr_assert_eq(fg_reg(g, 0x70), 0);
	end();
}

Test(mmio, nothing_is_behind_the_window)
{
	uint64_t v = 0;

	begin();
	for (uint64_t off = VMMIO_WINDOW; off; off <<= 1) {
		vmmio_read(fg_slot(g), off, &v, 8);
		cr_assert_eq(v, 0);
		vmmio_write(fg_slot(g), off, &v, 8);
	}
	vmmio_read(fg_slot(g), UINT64_MAX, &v, 8);
	cr_assert_eq(v, 0);
	end();
}

Test(mmio, queue_registers_know_their_queues)
{
	begin();
	fg_set_reg(g, 0x30, 1);
	cr_assert_eq(fg_reg(g, 0x34), 64);
	fg_set_reg(g, 0x44, 1);
	cr_assert_eq(fg_reg(g, 0x44), 1);
	fg_set_reg(g, 0x30, 0);
	cr_assert_eq(fg_reg(g, 0x34), 8);
	cr_assert_eq(fg_reg(g, 0x44), 0);
	static const uint32_t bad[] = {2, 66, 0x7fffffff, 0x80000000, UINT32_MAX};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		fg_set_reg(g, 0x30, bad[i]);
		cr_assert_eq(fg_reg(g, 0x34), 0);
		for (unsigned r = 0x38; r < 0xa8; r += 4)
			if (r != 0x50 && r != 0x70)
				fg_set_reg(g, r, UINT32_MAX);
		cr_assert_eq(fg_reg(g, 0x44), 0);
	}
	end();
}

Test(mmio, notify_checks_its_index)
{
	begin();
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	fg_set_reg(g, 0x50, 2);
	fg_set_reg(g, 0x50, UINT32_MAX);
	fg_set_reg(g, 0x50, 0x80000000);
	virtio_kick(&d.dev, 2);
	virtio_kick(&d.dev, UINT32_MAX);
	cr_assert_eq(d.kicks, 0);
	fg_set_reg(g, 0x50, 1);
	cr_assert_eq(d.kicks, 1);
	end();
}

Test(mmio, interrupt_status_and_acknowledge)
{
	begin();
	virtio_irq(&d.dev, VIRTIO_IRQ_VQ);
	virtio_irq(&d.dev, VIRTIO_IRQ_CONFIG);
	cr_assert_eq(fg_reg(g, 0x60), 3);
	fg_set_reg(g, 0x64, 1);
	cr_assert_eq(fg_reg(g, 0x60), 2);
	cr_assert_eq(fg_irqs(g), 2);
	end();
}

/* ---- config space ---------------------------------------------------------------------------- */

Test(mmio, config_reads_are_bounded)
{
	uint8_t buf[8];

	begin();
	vmmio_read(fg_slot(g), 0x100, buf, 8);
	cr_assert_eq(memcmp(buf, "\1\2\3\4\5\6\7\10", 8), 0);
	vmmio_read(fg_slot(g), 0x103, buf, 1);
	cr_assert_eq(buf[0], 4);
	memset(buf, 0xee, 8);
	vmmio_read(fg_slot(g), 0x100 + 18, buf, 8);
	cr_assert_eq(memcmp(buf, "\23\24\0\0\0\0\0\0", 8), 0);
	for (unsigned off = 0x100 + 20; off < VMMIO_WINDOW; off++) {
		memset(buf, 0xee, 8);
		vmmio_read(fg_slot(g), off, buf, 4);
		cr_assert_eq(memcmp(buf, "\0\0\0\0", 4), 0);
	}
	end();
}

Test(mmio, config_writes_stay_in_the_writable_part)
{
	uint8_t was[20], v[8] = {0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55};

	begin();
	memcpy(was, d.dev.cfg, 20);
	for (unsigned len = 1; len <= 8; len *= 2) {
		for (unsigned off = 0; off < 0x100; off++) {
			bool inside = off >= 4 && off + len <= 12;

			memcpy(d.dev.cfg, was, 20);
			d.writes = 0;
			vmmio_write(fg_slot(g), 0x100 + off, v, len);
			cr_assert_eq(d.writes, inside);
			cr_assert_eq(memcmp(d.dev.cfg, was, 20) != 0, inside);
			if (inside) {
				cr_assert_eq(d.write_off, off);
				cr_assert_eq(d.write_len, len);
				cr_assert_eq(memcmp(d.dev.cfg + off, v, len), 0);
			}
		}
	}
	end();
}

static void cfg_change(struct virtio_dev *dev, void *arg)
{
	dev->cfg[0] = *(uint8_t *)arg;
}

Test(mmio, config_changes_raise_generation_and_interrupt)
{
	uint8_t v = 77;
	uint32_t gen;

	begin();
	gen = fg_reg(g, 0xfc);
	virtio_cfg_update(&d.dev, cfg_change, &v);
	cr_assert_neq(fg_reg(g, 0xfc), gen);
	cr_assert_eq(fg_irqs(g), 0, "no driver, no interrupt");
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	gen = fg_reg(g, 0xfc);
	virtio_cfg_update(&d.dev, cfg_change, &v);
	cr_assert_neq(fg_reg(g, 0xfc), gen);
	cr_assert_eq(fg_irqs(g), 1);
	cr_assert_eq(fg_reg(g, 0x60), VIRTIO_IRQ_CONFIG);
	fg_reset(g);
	end();
}

/* ---- features and status --------------------------------------------------------------------- */

static uint64_t offer(void)
{
	uint64_t f;

	fg_set_reg(g, 0x14, 0);
	f = fg_reg(g, 0x10);
	fg_set_reg(g, 0x14, 1);
	return f | (uint64_t)fg_reg(g, 0x10) << 32;
}

static uint8_t accept_features(uint64_t f)
{
	fg_set_reg(g, 0x70, 0);
	fg_set_reg(g, 0x70, 1);
	fg_set_reg(g, 0x70, 3);
	fg_set_reg(g, 0x24, 0);
	fg_set_reg(g, 0x20, (uint32_t)f);
	fg_set_reg(g, 0x24, 1);
	fg_set_reg(g, 0x20, (uint32_t)(f >> 32));
	fg_set_reg(g, 0x70, 3 | 8);
	return (uint8_t)fg_reg(g, 0x70);
}

Test(core, features_outside_of_the_offer_are_refused)
{
	begin();
	cr_assert_eq(offer(),
		     DEV_BIT | VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC);
	fg_set_reg(g, 0x14, 2);
	cr_assert_eq(fg_reg(g, 0x10), 0);
	fg_set_reg(g, 0x14, UINT32_MAX);
	cr_assert_eq(fg_reg(g, 0x10), 0);
	cr_assert_eq(accept_features(offer()), 11);
	cr_assert_eq(accept_features(VIRTIO_F_VERSION_1), 11);
	cr_assert_eq(accept_features(VIRTIO_F_VERSION_1 | 1), 3, "not offered");
	cr_assert_eq(accept_features(VIRTIO_F_VERSION_1 | 1ull << 63), 3, "not offered");
	cr_assert_eq(accept_features(DEV_BIT), 3, "without VERSION_1");
	cr_assert_eq(accept_features(VIRTIO_F_VERSION_1), 11, "after a reset all is forgotten");
	/* Bits that no 64-bit word can hold. */
	fg_set_reg(g, 0x70, 0);
	fg_set_reg(g, 0x70, 3);
	fg_set_reg(g, 0x24, 1);
	fg_set_reg(g, 0x20, 1);
	fg_set_reg(g, 0x24, 2);
	fg_set_reg(g, 0x20, 1);
	fg_set_reg(g, 0x70, 11);
	cr_assert_eq(fg_reg(g, 0x70), 3);
	end();
}

Test(core, features_are_frozen_by_features_ok)
{
	begin();
	cr_assert_eq(accept_features(VIRTIO_F_VERSION_1), 11);
	fg_set_reg(g, 0x24, 0);
	fg_set_reg(g, 0x20, UINT32_MAX);
	cr_assert(!virtio_has(&d.dev, DEV_BIT));
	cr_assert(virtio_has(&d.dev, VIRTIO_F_VERSION_1));
	end();
}

Test(core, driver_ok_needs_features_ok)
{
	begin();
	fg_set_reg(g, 0x70, 0);
	fg_set_reg(g, 0x70, 7);
	cr_assert_eq(fg_reg(g, 0x70), 3);
	cr_assert_eq(d.starts, 0);
	fg_set_reg(g, 0x70, 15);
	cr_assert_eq(fg_reg(g, 0x70), 3, "nor with both at once and no VERSION_1");
	cr_assert_eq(d.starts, 0);
	end();
}

Test(core, status_bits_are_set_by_the_driver_and_cleared_by_reset_only)
{
	begin();
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_eq(d.starts, 1);
	fg_set_reg(g, 0x70, 1);
	cr_assert_eq(fg_reg(g, 0x70), 15);
	fg_set_reg(g, 0x70, 15 | VIRTIO_S_NEEDS_RESET);
	cr_assert_eq(fg_reg(g, 0x70), 15, "NEEDS_RESET is ours");
	fg_set_reg(g, 0x70, 15);
	cr_assert_eq(d.starts, 1, "started once");
	fg_set_reg(g, 0x70, 0x100);
	cr_assert_eq(fg_reg(g, 0x70), 15, "no reset");
	fg_set_reg(g, 0x70, 15 | VIRTIO_S_FAILED);
	cr_assert_eq(fg_reg(g, 0x70), 15 | VIRTIO_S_FAILED);
	fg_reset(g);
	cr_assert_eq(fg_reg(g, 0x70), 0);
	cr_assert_eq(d.stops, 1);
	cr_assert_eq(fg_reg(g, 0x44), 0);
	cr_assert_eq(fg_reg(g, 0x60), 0);
	end();
}

Test(core, a_device_that_cannot_start_needs_reset)
{
	begin();
	d.start_rc = -EIO;
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_eq(fg_reg(g, 0x70), 15 | VIRTIO_S_NEEDS_RESET);
	cr_assert_eq(fg_irqs(g), 1);
	fg_set_reg(g, 0x50, 0);
	cr_assert_eq(d.kicks, 0);
	d.start_rc = 0;
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_eq(fg_reg(g, 0x70), 15);
	cr_assert_eq(d.stops, 0, "what did not start is not stopped");
	end();
}

Test(core, a_failed_device_interrupts_once)
{
	begin();
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	for (unsigned i = 0; i < 100; i++)
		virtio_fail(&d.dev, "again");
	cr_assert_eq(fg_irqs(g), 1);
	cr_assert_eq(d.dev.faults, 100);
	cr_assert_gt(d.dev.log.dropped, 50, "and the log is limited");
	end();
}

Test(core, what_was_queued_before_driver_ok_is_kicked)
{
	begin();
	cr_assert_eq(fg_negotiate(g, FG_ALL), 0);
	(void)fg_setup_queue(g, 0, 0);
	(void)fg_setup_queue(g, 1, 0);
	(void)fg_add(fg_q(g, 1), &(struct fg_buf){fg_alloc(g, 8, 1), 8, true}, 1, 0);
	fg_set_reg(g, 0x50, 1);
	cr_assert_eq(d.kicks, 0, "not live yet");
	fg_go(g);
	cr_assert_eq(d.kicks, 1);
	end();
}

/* ---- with a loop and a vCPU ------------------------------------------------------------------ */

static int reset_over;

static void *vcpu_reset(void *arg)
{
	(void)arg;
	fg_reset(g);
	__atomic_store_n(&reset_over, fg_reg(g, 0x70) == 0 ? 1 : -1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *vcpu_start(void *arg)
{
	*(int *)arg = fg_start(g, FG_ALL);
	fg_set_reg(g, 0x50, 1);
	return NULL;
}

/* Runs the loop until *@what is at least @min. */
static void run_until(const unsigned *what, unsigned min)
{
	while (*what < min)
		cr_assert_eq(loop_step(l, true), 0);
}

static unsigned pokes;
static bool poked_enough;

/* Another CPU while the reset is under way. After it a write of 15 would count: it ends before. */
static void *poke(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&poked_enough, __ATOMIC_SEQ_CST)) {
		cr_assert_eq(virtio_status(&d.dev), 15);
		fg_set_reg(g, 0x70, 15); /* dropped */
		(void)__atomic_fetch_add(&pokes, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

Test(core, a_reset_waits_for_the_drain_in_the_vcpu_and_not_in_the_loop)
{
	pthread_t vcpu, other;
	struct err e = {0};
	int rc = -1;

	cr_assert_eq(loop_new(&l, 8, &e), 0, "%s", e.msg);
	begin_with(l);
	cr_assert_eq(pthread_create(&vcpu, NULL, vcpu_start, &rc), 0);
	run_until(&d.kicks, 1);
	(void)pthread_join(vcpu, NULL);
	cr_assert_eq(rc, 0);
	d.hold = true;
	cr_assert_eq(pthread_create(&vcpu, NULL, vcpu_reset, NULL), 0);
	run_until(&d.stops, 1);
	cr_assert_eq(pthread_create(&other, NULL, poke, NULL), 0);
	/* The device drains; the loop works on; the driver sees no reset yet. */
	for (unsigned i = 0; i < 1000 || __atomic_load_n(&pokes, __ATOMIC_SEQ_CST) < 100; i++) {
		cr_assert_eq(loop_step(l, false), 0);
		cr_assert_eq(__atomic_load_n(&reset_over, __ATOMIC_SEQ_CST), 0);
		cr_assert_eq(fg_reg(g, 0x70), 15);
	}
	__atomic_store_n(&poked_enough, true, __ATOMIC_SEQ_CST);
	(void)pthread_join(other, NULL);
	cr_assert(d.dev.vq[0].live, "requests may still use it");
	virtio_stopped(&d.dev);
	cr_assert_not(d.dev.vq[0].live);
	(void)pthread_join(vcpu, NULL);
	cr_assert_eq(reset_over, 1);
	cr_assert_eq(d.stops, 1);
	end();
	loop_free(l);
}

static void count(void *arg)
{
	++*(unsigned *)arg;
}

Test(core, shutdown_ends_after_the_drain_and_for_good)
{
	unsigned over = 0;

	begin();
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	d.hold = true;
	virtio_shutdown(&d.dev, count, &over);
	cr_assert_eq(over, 0);
	fg_set_reg(g, 0x50, 0);
	cr_assert_eq(d.kicks, 0, "a stopping device is not kicked");
	fg_reset(g);
	cr_assert_eq(d.stops, 1, "is stopping already");
	virtio_stopped(&d.dev);
	cr_assert_eq(over, 1);
	cr_assert_eq(fg_reg(g, 0x70), 0);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_eq(d.starts, 1, "never again");
	virtio_shutdown(&d.dev, count, &over);
	cr_assert_eq(over, 2);
	end();
}

/* ---- saved state ------------------------------------------------------------------------------ */

static void at_once(void *arg)
{
	*(bool *)arg = true;
}

/* A guest in the middle of setting its device up is saved, and goes on setting up another one. */
Test(mmio, a_saved_slot_goes_on)
{
	struct buf b = {0};
	struct err e = {0};
	struct snap_rd r;
	bool still = false;

	begin();
	fg_set_reg(g, 0x70, 1);
	fg_set_reg(g, 0x70, 3);
	fg_set_reg(g, 0x14, 1);
	fg_set_reg(g, 0x24, 2);
	fg_set_reg(g, 0x20, 1); /* a feature that is nobody's */
	fg_set_reg(g, 0x24, 1);
	fg_set_reg(g, 0x30, 1);
	fg_set_reg(g, 0x38, 32);
	virtio_freeze(&d.dev, at_once, &still);
	cr_assert(still);
	cr_assert_eq(vmmio_save(fg_slot(g), &b, &e), 0, "%s", e.msg);
	end();

	begin();
	fg_set_reg(g, 0x30, 7);
	r = (struct snap_rd){b.data, b.len - 1};
	cr_assert_lt(vmmio_load(fg_slot(g), &r, &e), 0, "cut off");
	cr_assert(e.msg[0]);
	end();

	begin();
	b.data[4]++; /* its version */
	r = (struct snap_rd){b.data, b.len};
	cr_assert_eq(vmmio_load(fg_slot(g), &r, NULL), -EOPNOTSUPP);
	b.data[4]--;
	e = (struct err){0};
	r = (struct snap_rd){b.data, b.len};
	cr_assert_eq(vmmio_load(fg_slot(g), &r, &e), 0, "%s", e.msg);
	cr_assert_eq(r.left, 0u);
	virtio_thaw(&d.dev);
	cr_assert_eq(fg_reg(g, 0x10), 1, "the upper word of features is selected");
	cr_assert_eq(fg_reg(g, 0x34), 64, "the second queue is");
	fg_set_reg(g, 0x20, 1); /* VERSION_1 into the second word */
	fg_set_reg(g, 0x70, 11);
	cr_assert_eq(fg_reg(g, 0x70), 3, "the alien feature is not forgotten");
	end();
	buf_free(&b);
}

/* ---- registers in memory --------------------------------------------------------------------- */

Test(mmio_page, has_what_each_register_reads)
{
	begin_shown();
	cr_assert_eq(fg_start(g, FG_ALL), 0); /* fg_reg() compares */
	fg_set_reg(g, 0x30, 1);
	cr_assert_eq(shown(0x34), 64);
	fg_set_reg(g, 0x30, 7);
	cr_assert_eq(shown(0x34), 0);
	fg_set_reg(g, 0x14, 0);
	cr_assert(shown(0x10) & DEV_BIT);
	fg_set_reg(g, 0x14, 1);
	cr_assert_eq(shown(0x10), 1); /* VERSION_1 */
	cr_assert_eq(shown(0x70), 0xf);
	for (unsigned off = 0; off < VMMIO_WINDOW; off += 4)
		cr_assert_eq(shown(off), fg_reg(g, off), "register %#x", off);
	for (unsigned off = VMMIO_WINDOW; off < VMMIO_PAGE; off += 4)
		cr_assert_eq(shown(off), 0);
	fg_reset(g);
	cr_assert_eq(shown(0x70), 0);
	end();
}

Test(mmio_page, interrupts_and_faults_are_there_before_the_pulse)
{
	begin_shown();
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	virtio_irq(&d.dev, VIRTIO_IRQ_VQ);
	cr_assert_eq(shown(0x60), 1);
	virtio_fail(&d.dev, "test");
	cr_assert_eq(shown(0x60), 3);
	cr_assert(shown(0x70) & VIRTIO_S_NEEDS_RESET);
	fg_set_reg(g, 0x64, 1);
	cr_assert_eq(shown(0x60), 2);
	fg_reset(g);
	cr_assert_eq(shown(0x60), 0);
	end();
}

Test(mmio_page, is_empty_without_a_device)
{
	begin_shown();
	vmmio_unplug(fg_slot(g));
	for (unsigned off = 0; off < VMMIO_PAGE; off += 4)
		cr_assert_eq(shown(off), off == 0 ? 0x74726976u : off == 4 ? 2 : 0, "%#x", off);
	/* What the device does afterwards is nobody's. */
	virtio_irq(&d.dev, VIRTIO_IRQ_VQ);
	virtio_fail(&d.dev, "test");
	cr_assert_eq(shown(0x60), 0);
	cr_assert_eq(shown(0x70), 0);
	end();
}

static void put_twenty(struct virtio_dev *dev, void *arg)
{
	memset(dev->cfg, *(const uint8_t *)arg, 20);
}

static bool reading;

/* A driver as 2.5.1 has it: once more while the generation changes. */
static void *read_config(void *arg)
{
	unsigned *torn = arg;

	while (__atomic_load_n(&reading, __ATOMIC_RELAXED)) {
		uint32_t gen, first, last;

		do {
			gen = __atomic_load_n((uint32_t *)(void *)(page + 0xfc), __ATOMIC_ACQUIRE);
			first =
			    __atomic_load_n((uint32_t *)(void *)(page + 0x100), __ATOMIC_ACQUIRE);
			last =
			    __atomic_load_n((uint32_t *)(void *)(page + 0x110), __ATOMIC_ACQUIRE);
		} while (gen !=
			 __atomic_load_n((uint32_t *)(void *)(page + 0xfc), __ATOMIC_ACQUIRE));
		*torn += first != last || (first & 0xff) != (gen & 0xff);
	}
	return NULL;
}

Test(mmio_page, a_driver_sees_all_of_an_update_or_nothing)
{
	unsigned torn = 0;
	pthread_t t;
	uint8_t v;

	begin_shown();
	v = 0;
	put_twenty(&d.dev, &v);
	vmmio_show_in(fg_slot(g), page);
	reading = true;
	cr_assert_eq(pthread_create(&t, NULL, read_config, &torn), 0);
	for (unsigned i = 1; i <= 20000; i++) {
		v = (uint8_t)i;
		virtio_cfg_update(&d.dev, put_twenty, &v);
		cr_assert_eq(shown(0xfc), i);
	}
	__atomic_store_n(&reading, false, __ATOMIC_RELAXED);
	(void)pthread_join(t, NULL);
	cr_assert_eq(torn, 0, "%u reads were torn", torn);
	cr_assert_eq(shown(0x110), v * 0x01010101u);
	cr_assert_eq(shown(0x00), 0x74726976);
	end();
}
