/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MMIO transport's register file (virtio 1.2, section 4.2.2). vCPU threads.
 *
 * Theory of operation
 *
 * A slot is a window of 0x200 bytes: 32-bit registers below 0x100, config space from there.
 * Registers answer aligned 32-bit accesses only; config space answers 1, 2, 4 and 8 bytes.
 * Everything else reads as zeros and is dropped when written: a guest cannot make this code do
 * anything but look at a table.
 *
 * The selectors (features, queue, shared memory) are the slot's; status, features and queue
 * registers are the device's, under its lock. Queue registers can be written until DRIVER_OK, which
 * is when the loop latches them (vq_start); after it they are frozen until the reset, and what they
 * say has no effect on a running queue anyway.
 *
 * Without a device the slot shows the magic, the version and DeviceID 0, which tells a driver to
 * leave it alone (4.2.3.1.1). vmmio_plug() publishes the device with one release store: a vCPU sees
 * an empty slot or a whole device.
 *
 * Reads that cost the guest nothing: see mmio_page.c. What it says there and what is said here is the same
 * by construction, vmmio_reg().
 *
 * Not offered: legacy registers, queue reset (a feature that we do not offer), shared memory
 * regions (all-ones length and base, which means there is none).
 */
#include "virtio/mmio_priv.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "virtio/snap.h"

void vmmio_init(struct vmmio *s, unsigned slot, const struct vmmio_ops *ops, void *ops_ctx)
{
	*s = (struct vmmio){.slot = slot, .ops = ops, .ops_ctx = ops_ctx};
}

static void slot_irq(void *ctx, uint32_t cause)
{
	struct vmmio *s = ctx;

	(void)cause; /* one line for both; the driver reads InterruptStatus */
	if (s->ops && s->ops->irq)
		s->ops->irq(s->ops_ctx, s->slot);
}

static void slot_show(void *ctx, struct virtio_dev *dev, unsigned what)
{
	struct vmmio *s = ctx;

	/* An emptied slot is not its device's any more. */
	if (s->page && s->dev == dev)
		vmmio_page_show(s, dev, what);
}

static void slot_flush(void *ctx)
{
	const struct vmmio *s = ctx;

	if (s->ops && s->ops->flush)
		s->ops->flush(s->ops_ctx);
}

static const struct virtio_transport_ops transport = {
    .irq = slot_irq, .flush = slot_flush, .show = slot_show};

void vmmio_plug(struct vmmio *s, struct virtio_dev *dev, const struct gmem *mem, struct loop *loop)
{
	BUG_ON(s->dev);
	virtio_attach(dev, mem, loop, &transport, s);
	(void)pthread_mutex_lock(&dev->lock);
	s->dev_feat_sel = s->drv_feat_sel = s->queue_sel = s->shm_sel = 0;
	/* Pairs with the load in slot_dev(). */
	__atomic_store_n(&s->dev, dev, __ATOMIC_RELEASE);
	slot_show(s, dev, VIRTIO_SHOW_ALL);
	(void)pthread_mutex_unlock(&dev->lock);
}

void vmmio_show_in(struct vmmio *s, uint8_t *page)
{
	struct virtio_dev *dev = s->dev;

	s->page = page;
	if (!dev) {
		vmmio_page_empty(s);
		return;
	}
	(void)pthread_mutex_lock(&dev->lock);
	vmmio_page_show(s, dev, VIRTIO_SHOW_ALL);
	(void)pthread_mutex_unlock(&dev->lock);
}

static struct virtio_dev *slot_dev(const struct vmmio *s)
{
	return __atomic_load_n(&s->dev, __ATOMIC_SEQ_CST);
}

/* The queue that the driver has selected, or NULL. Under the device's lock. */
static struct vq *selected(const struct vmmio *s, const struct virtio_dev *dev)
{
	return s->queue_sel < dev->queue_cnt ? &dev->vq[s->queue_sel] : NULL;
}

uint32_t vmmio_reg(const struct vmmio *s, const struct virtio_dev *dev, unsigned reg)
{
	const struct vq *q;

	if (reg == REG_MAGIC)
		return MMIO_MAGIC;
	if (reg == REG_VERSION)
		return MMIO_VERSION;
	if (!dev) /* DeviceID 0 and nothing else */
		return 0;
	q = selected(s, dev);
	switch (reg) {
	case REG_DEVICE_ID:
		return dev->ops->id;
	case REG_VENDOR_ID:
		return MMIO_VENDOR;
	case REG_DEV_FEATURES:
		if (s->dev_feat_sel > 1)
			return 0;
		return (uint32_t)(virtio_offered(dev) >> (32 * s->dev_feat_sel));
	case REG_QUEUE_NUM_MAX:
		return q ? q->max : 0;
	case REG_QUEUE_READY:
		return q ? q->ready : 0;
	case REG_ISR:
		return dev->isr;
	case REG_STATUS:
		return dev->status;
	case REG_SHM_LEN_LO:
	case REG_SHM_LEN_HI:
	case REG_SHM_BASE_LO:
	case REG_SHM_BASE_HI:
		return UINT32_MAX;
	case REG_CONFIG_GEN:
		return dev->cfg_gen;
	default:
		return 0;
	}
}

static uint32_t read_reg(const struct vmmio *s, struct virtio_dev *dev, unsigned reg)
{
	uint32_t v;

	if (!dev)
		return vmmio_reg(s, NULL, reg);
	(void)pthread_mutex_lock(&dev->lock);
	v = vmmio_reg(s, dev, reg);
	(void)pthread_mutex_unlock(&dev->lock);
	return v;
}

static void do_read(struct vmmio *s, uint64_t off, void *buf, unsigned len)
{
	struct virtio_dev *dev = slot_dev(s);
	le32_t v;

	memset(buf, 0, len);
	if (off >= VMMIO_WINDOW)
		return;
	if (off >= CONFIG_OFF) {
		if (dev && len <= 8)
			virtio_cfg_read(dev, off - CONFIG_OFF, buf, len);
		return;
	}
	if (len != 4 || off % 4)
		return;
	v = le32_of(read_reg(s, dev, (unsigned)off));
	memcpy(buf, &v, sizeof(v));
}

static void set_lo(uint64_t *addr, uint32_t v)
{
	*addr = (*addr & ~(uint64_t)UINT32_MAX) | v;
}

static void set_hi(uint64_t *addr, uint32_t v)
{
	*addr = (*addr & UINT32_MAX) | (uint64_t)v << 32;
}

static void write_queue(struct vq *q, unsigned reg, uint32_t v)
{
	switch (reg) {
	case REG_QUEUE_NUM:
		/* What does not fit becomes 0, which vq_start() refuses, instead of another number.
		 */
		q->size = v <= q->max ? (uint16_t)v : 0;
		break;
	case REG_QUEUE_READY:
		q->ready = v & 1;
		break;
	case REG_QUEUE_DESC_LO:
		set_lo(&q->desc_gpa, v);
		break;
	case REG_QUEUE_DESC_HI:
		set_hi(&q->desc_gpa, v);
		break;
	case REG_QUEUE_DRIVER_LO:
		set_lo(&q->avail_gpa, v);
		break;
	case REG_QUEUE_DRIVER_HI:
		set_hi(&q->avail_gpa, v);
		break;
	case REG_QUEUE_DEVICE_LO:
		set_lo(&q->used_gpa, v);
		break;
	case REG_QUEUE_DEVICE_HI:
		set_hi(&q->used_gpa, v);
		break;
	default:
		break;
	}
}

static void write_locked(struct vmmio *s, struct virtio_dev *dev, unsigned reg, uint32_t v)
{
	struct vq *q;

	switch (reg) {
	case REG_DEV_FEATURES_SEL:
		s->dev_feat_sel = v;
		return;
	case REG_DRV_FEATURES_SEL:
		s->drv_feat_sel = v;
		return;
	case REG_QUEUE_SEL:
		s->queue_sel = v;
		return;
	case REG_SHM_SEL:
		s->shm_sel = v;
		return;
	default:
		break;
	}
	q = selected(s, dev);
	if (q && !(dev->status & VIRTIO_S_DRIVER_OK))
		write_queue(q, reg, v);
}

struct kick_call {
	struct virtio_dev *dev;
	uint32_t queue;
};

static void kick_here(void *arg)
{
	struct kick_call *k = arg;

	virtio_kick(k->dev, k->queue);
}

static void notify(struct virtio_dev *dev, uint32_t queue)
{
	struct kick_call k = {.dev = dev, .queue = queue};

	if (queue >= dev->queue_cnt)
		return;
	if (dev->loop)
		loop_call(dev->loop, kick_here, &k);
	else
		kick_here(&k);
}

static void write_reg(struct vmmio *s, struct virtio_dev *dev, unsigned reg, uint32_t v)
{
	uint32_t word;

	switch (reg) {
	case REG_STATUS:
		/* Bits above the eight that exist are nobody's; but they are no reset either. */
		if (v == 0 || (v & UINT8_MAX))
			virtio_set_status(dev, (uint8_t)v);
		return;
	case REG_QUEUE_NOTIFY:
		notify(dev, v);
		return;
	case REG_ISR_ACK:
		virtio_ack(dev, v);
		return;
	case REG_DRV_FEATURES:
		(void)pthread_mutex_lock(&dev->lock);
		word = s->drv_feat_sel;
		(void)pthread_mutex_unlock(&dev->lock);
		virtio_set_features(dev, word, v);
		return;
	default:
		(void)pthread_mutex_lock(&dev->lock);
		write_locked(s, dev, reg, v);
		slot_show(s, dev, VIRTIO_SHOW_REGS);
		(void)pthread_mutex_unlock(&dev->lock);
		return;
	}
}

static void do_write(struct vmmio *s, uint64_t off, const void *buf, unsigned len)
{
	struct virtio_dev *dev = slot_dev(s);
	le32_t v;

	if (!dev || off >= VMMIO_WINDOW)
		return;
	if (off >= CONFIG_OFF) {
		if (len <= 8)
			virtio_cfg_store(dev, off - CONFIG_OFF, buf, len);
		return;
	}
	if (len != 4 || off % 4)
		return;
	memcpy(&v, buf, sizeof(v));
	write_reg(s, dev, (unsigned)off, le32_get(v));
}

/*
 * A vCPU is counted before it looks for the device and until it is through with it. Sequentially
 * consistent on both sides: either vmmio_is_quiet() sees the vCPU, or the vCPU sees the empty slot.
 */
void vmmio_read(struct vmmio *s, uint64_t off, void *buf, unsigned len)
{
	(void)__atomic_fetch_add(&s->users, 1, __ATOMIC_SEQ_CST);
	do_read(s, off, buf, len);
	(void)__atomic_fetch_sub(&s->users, 1, __ATOMIC_SEQ_CST);
}

void vmmio_write(struct vmmio *s, uint64_t off, const void *buf, unsigned len)
{
	(void)__atomic_fetch_add(&s->users, 1, __ATOMIC_SEQ_CST);
	do_write(s, off, buf, len);
	(void)__atomic_fetch_sub(&s->users, 1, __ATOMIC_SEQ_CST);
}

void vmmio_unplug(struct vmmio *s)
{
	struct virtio_dev *dev = s->dev;

	if (!dev)
		return;
	(void)pthread_mutex_lock(&dev->lock);
	__atomic_store_n(&s->dev, NULL, __ATOMIC_SEQ_CST);
	if (s->page)
		vmmio_page_empty(s);
	(void)pthread_mutex_unlock(&dev->lock);
}

bool vmmio_is_quiet(const struct vmmio *s)
{
	return !s->dev && __atomic_load_n(&s->users, __ATOMIC_SEQ_CST) == 0;
}

/* ---- snapshots ----------------------------------------------------------------------------------- */

#define TAG_SLOT     SNAP_TAG('V', 'M', 'I', 'O')
#define SLOT_VERSION 1u

struct slot_wire {
	le32_t dev_feat_sel, drv_feat_sel, queue_sel, shm_sel;
};
_Static_assert(sizeof(struct slot_wire) == 16, "no padding");

int vmmio_save(struct vmmio *s, struct buf *to, struct err *e)
{
	const struct slot_wire w = {.dev_feat_sel = le32_of(s->dev_feat_sel),
				    .drv_feat_sel = le32_of(s->drv_feat_sel),
				    .queue_sel = le32_of(s->queue_sel),
				    .shm_sel = le32_of(s->shm_sel)};
	int rc = snap_put(to, TAG_SLOT, SLOT_VERSION, &w, sizeof(w));

	if (rc < 0)
		return err_sys(e, rc, "%s: saving", s->dev->name);
	return virtio_save(s->dev, to, e);
}

int vmmio_load(struct vmmio *s, struct snap_rd *r, struct err *e)
{
	struct slot_wire w;
	const uint8_t *p;
	size_t len;
	int rc = snap_get(r, TAG_SLOT, SLOT_VERSION, sizeof(w), &p, &len);

	if (rc < 0 || len != sizeof(w))
		return err_set(e, rc < 0 ? rc : -EPROTO,
			       "%s: its saved registers are cut off or of another version",
			       s->dev->name);
	/* Any number is what a driver may have written. */
	memcpy(&w, p, sizeof(w));
	s->dev_feat_sel = le32_get(w.dev_feat_sel);
	s->drv_feat_sel = le32_get(w.drv_feat_sel);
	s->queue_sel = le32_get(w.queue_sel);
	s->shm_sel = le32_get(w.shm_sel);
	return virtio_load(s->dev, r, e);
}
