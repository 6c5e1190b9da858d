/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a virtio device that all have in common (virtio 1.2, sections 2 and 3).
 *
 * Theory of operation
 *
 *   status: 0 ── ACKNOWLEDGE ── DRIVER ── FEATURES_OK ── DRIVER_OK ──(fault)── + NEEDS_RESET
 *           ▲                                 │              │                       │
 *           └─────────── write 0 ─────────────┴──────────────┴───────────────────────┘
 *
 *   loop:   stopped ──start()──▶ running ──stop()──▶ stopping ──virtio_stopped()──▶ stopped
 *
 * The register file (status, accepted features, queue addresses, config bytes) belongs to dev->lock
 * and is what vCPU threads see; the transport is told of each change (show), for drivers that read it in
 * memory. The rings, the requests and the three loop states above belong to
 * the loop thread. The two meet at two writes of the driver:
 *
 *  - DRIVER_OK: the bit is set under the lock, then start_here() runs on the loop and the vCPU
 *    waits for it.
 *  - 0: without DRIVER_OK nothing runs and the registers are cleared on the spot. With it
 *    reset_here() runs on the loop and begins the drain, which may take as long as a disk does: the
 *    loop goes on with its work, and the vCPU waits on reset_cond until the device has called
 *    virtio_stopped(). Status reads 0 only after that, so a driver that polls is served as well as
 *    Linux, which does not poll and reuses its memory as soon as the write returns.
 *
 * Both decisions are taken again on the loop from what the status says there, in the order of
 * arrival, so two vCPUs that race each other with these writes get one order or the other.
 *
 * Features: FEATURES_OK is granted when what the driver accepted is inside the offer and has
 * VERSION_1; otherwise the bit does not stick (3.1.1, step 6). After it features are frozen. Status
 * bits are never cleared one by one, and NEEDS_RESET is ours alone.
 */
#include "virtio/virtio.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORE_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)

int virtio_init(struct virtio_dev *dev, const struct virtio_ops *ops, const char *name,
		uint64_t features, unsigned queues, const uint16_t *queue_max, size_t cfg_len)
{
	BUG_ON(queues > VIRTIO_QUEUES_MAX);
	memset(dev, 0, sizeof(*dev));
	dev->ops = ops;
	(void)snprintf(dev->name, sizeof(dev->name), "%s", name);
	dev->features = features;
	dev->queue_cnt = queues;
	dev->cfg_len = cfg_len;
	dev->vq = calloc(queues ? queues : 1, sizeof(*dev->vq));
	dev->cfg = calloc(cfg_len ? cfg_len : 1, 1);
	if (!dev->vq || !dev->cfg) {
		free(dev->vq);
		free(dev->cfg);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < queues; i++) {
		BUG_ON(queue_max[i] > VQ_SIZE_MAX);
		dev->vq[i].dev = dev;
		dev->vq[i].idx = i;
		dev->vq[i].max = queue_max[i];
	}
	(void)pthread_mutex_init(&dev->lock, NULL);
	(void)pthread_cond_init(&dev->reset_cond, NULL);
	return 0;
}

void virtio_fini(struct virtio_dev *dev)
{
	for (unsigned i = 0; i < dev->queue_cnt; i++)
		vq_stop(&dev->vq[i]);
	free(dev->vq);
	free(dev->cfg);
	dev->vq = NULL;
	dev->cfg = NULL;
	(void)pthread_mutex_destroy(&dev->lock);
	(void)pthread_cond_destroy(&dev->reset_cond);
}

void virtio_attach(struct virtio_dev *dev, const struct gmem *mem, struct loop *loop,
		   const struct virtio_transport_ops *tr, void *tr_ctx)
{
	dev->mem = mem;
	dev->loop = loop;
	dev->tr = tr;
	dev->tr_ctx = tr_ctx;
}

void virtio_free(struct virtio_dev *dev)
{
	if (!dev)
		return;
	BUG_ON(dev->running);
	dev->ops->free(dev);
}

static void lock(struct virtio_dev *dev)
{
	(void)pthread_mutex_lock(&dev->lock);
}

static void unlock(struct virtio_dev *dev)
{
	(void)pthread_mutex_unlock(&dev->lock);
}

/* Runs @fn on the loop and waits for it; directly where there is no loop. */
static void on_loop(struct virtio_dev *dev, void (*fn)(void *arg), void *arg)
{
	if (dev->loop)
		loop_call(dev->loop, fn, arg);
	else
		fn(arg);
}

/* Under the lock. */
static void show(struct virtio_dev *dev, unsigned what)
{
	if (dev->tr && dev->tr->show)
		dev->tr->show(dev->tr_ctx, dev, what);
}

/* ---- interrupts, faults ------------------------------------------------------------------------
 */

void virtio_irq(struct virtio_dev *dev, uint32_t cause)
{
	/* Or an acknowledgement of what was before would take this cause with it. */
	if (dev->tr && dev->tr->flush)
		dev->tr->flush(dev->tr_ctx);
	/* Before the pulse: the handler that it starts finds the cause. */
	lock(dev);
	dev->isr |= cause;
	show(dev, VIRTIO_SHOW_ISR);
	unlock(dev);
	if (dev->tr && dev->tr->irq)
		dev->tr->irq(dev->tr_ctx, cause);
}

void virtio_ack(struct virtio_dev *dev, uint32_t causes)
{
	lock(dev);
	dev->isr &= ~causes;
	show(dev, VIRTIO_SHOW_ISR);
	unlock(dev);
}

void virtio_fail(struct virtio_dev *dev, const char *fmt, ...)
{
	char why[256];
	bool live, first;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	dev->faults++;
	dev->broken = true;
	lock(dev);
	live = (dev->status & VIRTIO_S_DRIVER_OK) != 0;
	first = !(dev->status & VIRTIO_S_NEEDS_RESET);
	dev->status |= VIRTIO_S_NEEDS_RESET;
	show(dev, VIRTIO_SHOW_REGS);
	unlock(dev);
	log_limited(&dev->log, LOG_LVL_WARN, "%s: guest fault: %s", dev->name, why);
	/* 2.1.2: a live driver is told by a configuration change. */
	if (live && first)
		virtio_irq(dev, VIRTIO_IRQ_CONFIG);
}

bool virtio_has(const struct virtio_dev *dev, uint64_t feature)
{
	return (dev->acked & feature) == feature;
}

/* ---- start, stop, reset: loop thread -----------------------------------------------------------
 */

/* Under the lock, with nothing running. */
static void clear_registers(struct virtio_dev *dev)
{
	dev->status = 0;
	dev->acked = 0;
	dev->acked_alien = false;
	dev->isr = 0;
	for (unsigned i = 0; i < dev->queue_cnt; i++) {
		struct vq *q = &dev->vq[i];

		q->size = 0;
		q->ready = false;
		q->desc_gpa = q->avail_gpa = q->used_gpa = 0;
	}
	show(dev, VIRTIO_SHOW_REGS | VIRTIO_SHOW_ISR);
}

static void queues_stop(struct virtio_dev *dev)
{
	for (unsigned i = 0; i < dev->queue_cnt; i++)
		vq_stop(&dev->vq[i]);
}

static int queues_start(struct virtio_dev *dev)
{
	for (unsigned i = 0; i < dev->queue_cnt; i++) {
		struct vq *q = &dev->vq[i];
		int rc;

		if (!q->ready)
			continue;
		rc = vq_start(q);
		if (rc < 0) {
			virtio_fail(dev, "queue %u of %u entries cannot be used: %s", i, q->size,
				    strerror(-rc));
			return rc;
		}
	}
	return 0;
}

static void start_here(void *arg)
{
	struct virtio_dev *dev = arg;
	bool wanted;
	int rc;

	if (dev->running || dev->shut)
		return;
	lock(dev);
	wanted = (dev->status & VIRTIO_S_DRIVER_OK) && !(dev->status & VIRTIO_S_NEEDS_RESET);
	unlock(dev);
	if (!wanted)
		return;
	/* The registers of queues are frozen by DRIVER_OK: they are read without the lock. */
	if (queues_start(dev) < 0) {
		queues_stop(dev);
		return;
	}
	rc = dev->ops->start ? dev->ops->start(dev) : 0;
	if (rc < 0) {
		virtio_fail(dev, "cannot start: %s", strerror(-rc));
		queues_stop(dev);
		return;
	}
	dev->running = true;
	/* What the driver queued before DRIVER_OK has no kick to come. */
	for (unsigned i = 0; i < dev->queue_cnt && dev->running; i++)
		if (vq_pending(&dev->vq[i]))
			virtio_kick(dev, i);
}

/* Nothing runs any more: answer the driver that waits for its reset. */
static void reset_finish(struct virtio_dev *dev)
{
	dev->broken = false;
	lock(dev);
	clear_registers(dev);
	dev->resetting = false;
	(void)pthread_cond_broadcast(&dev->reset_cond);
	unlock(dev);
}

static void stop_begin(struct virtio_dev *dev)
{
	if (dev->stopping)
		return;
	dev->stopping = true;
	dev->ops->stop(dev);
}

static void reset_here(void *arg)
{
	struct virtio_dev *dev = arg;

	lock(dev);
	dev->resetting = true;
	unlock(dev);
	if (dev->running)
		stop_begin(dev);
	else
		reset_finish(dev);
}

void virtio_stopped(struct virtio_dev *dev)
{
	void (*fn)(void *arg) = dev->stopped_fn;
	void *arg = dev->stopped_arg;
	bool reset;

	BUG_ON(!dev->stopping || !dev->running);
	queues_stop(dev);
	dev->running = false;
	dev->stopping = false;
	virtio_quiet(dev); /* whoever waits for it to stand still need not wait any more */
	lock(dev);
	reset = dev->resetting;
	unlock(dev);
	if (reset)
		reset_finish(dev);
	dev->stopped_fn = NULL;
	/* Last: it may free the device. */
	if (fn)
		fn(arg);
}

void virtio_shutdown(struct virtio_dev *dev, void (*fn)(void *arg), void *arg)
{
	dev->shut = true;
	if (!dev->running) {
		if (fn)
			fn(arg);
		return;
	}
	BUG_ON(dev->stopped_fn);
	dev->stopped_fn = fn;
	dev->stopped_arg = arg;
	stop_begin(dev);
}

void virtio_kick(struct virtio_dev *dev, unsigned queue)
{
	struct vq *q;

	if (queue >= dev->queue_cnt || !dev->running || dev->stopping || dev->broken || dev->frozen)
		return;
	q = &dev->vq[queue];
	if (!q->live)
		return;
	q->kick_cnt++;
	dev->ops->kick(dev, q);
}

/* ---- the register file: vCPU threads -----------------------------------------------------------
 */

uint64_t virtio_offered(const struct virtio_dev *dev)
{
	return dev->features | CORE_FEATURES;
}

void virtio_set_features(struct virtio_dev *dev, unsigned word, uint32_t bits)
{
	lock(dev);
	if (!(dev->status & VIRTIO_S_FEATURES_OK)) {
		if (word == 0)
			dev->acked = (dev->acked & ~(uint64_t)UINT32_MAX) | bits;
		else if (word == 1)
			dev->acked = (dev->acked & UINT32_MAX) | (uint64_t)bits << 32;
		else if (bits)
			dev->acked_alien = true;
	}
	unlock(dev);
}

uint8_t virtio_status(struct virtio_dev *dev)
{
	uint8_t s;

	lock(dev);
	s = dev->status;
	unlock(dev);
	return s;
}

static void reset(struct virtio_dev *dev)
{
	lock(dev);
	if (!(dev->status & VIRTIO_S_DRIVER_OK) && !dev->resetting) {
		/* Nothing has been started: no need to go through the loop. */
		clear_registers(dev);
		unlock(dev);
		return;
	}
	unlock(dev);
	on_loop(dev, reset_here, dev);
	/* The loop never waits for itself, and without a loop there is nobody who could end the
	 * wait. */
	if (!dev->loop || loop_is_here(dev->loop))
		return;
	lock(dev);
	while (dev->resetting)
		(void)pthread_cond_wait(&dev->reset_cond, &dev->lock);
	unlock(dev);
}

/* What the status becomes when the driver writes @want (not 0). Under the lock. */
static uint8_t status_after(const struct virtio_dev *dev, uint8_t want)
{
	uint8_t was = dev->status;
	uint8_t to = (uint8_t)(was | (want & ~VIRTIO_S_NEEDS_RESET));

	if ((to & ~was & VIRTIO_S_FEATURES_OK) &&
	    (dev->acked_alien || (dev->acked & ~virtio_offered(dev)) ||
	     !(dev->acked & VIRTIO_F_VERSION_1) || !(to & VIRTIO_S_DRIVER)))
		to &= (uint8_t)~VIRTIO_S_FEATURES_OK;
	if ((to & ~was & VIRTIO_S_DRIVER_OK) && !(to & VIRTIO_S_FEATURES_OK))
		to &= (uint8_t)~VIRTIO_S_DRIVER_OK;
	return to;
}

void virtio_set_status(struct virtio_dev *dev, uint8_t status)
{
	bool go;

	if (status == 0) {
		reset(dev);
		return;
	}
	lock(dev);
	if (dev->resetting) { /* another CPU's reset is not over: this write came during it */
		unlock(dev);
		return;
	}
	status = status_after(dev, status);
	go = (status & ~dev->status & VIRTIO_S_DRIVER_OK) != 0;
	dev->status = status;
	show(dev, VIRTIO_SHOW_REGS);
	unlock(dev);
	if (go)
		on_loop(dev, start_here, dev);
}

/* ---- config space ------------------------------------------------------------------------------
 */

void virtio_cfg_update(struct virtio_dev *dev, void (*fn)(struct virtio_dev *dev, void *arg),
		       void *arg)
{
	bool live;

	lock(dev);
	fn(dev, arg);
	dev->cfg_gen++;
	show(dev, VIRTIO_SHOW_UPDATE);
	live = (dev->status & VIRTIO_S_DRIVER_OK) != 0;
	unlock(dev);
	if (live)
		virtio_irq(dev, VIRTIO_IRQ_CONFIG);
}

void virtio_cfg_quiet_update(struct virtio_dev *dev, void (*fn)(struct virtio_dev *dev, void *arg),
			     void *arg)
{
	lock(dev);
	fn(dev, arg);
	show(dev, VIRTIO_SHOW_CONFIG);
	unlock(dev);
}

void virtio_cfg_read(struct virtio_dev *dev, uint64_t off, void *buf, size_t len)
{
	memset(buf, 0, len);
	if (off >= dev->cfg_len)
		return;
	lock(dev);
	memcpy(buf, dev->cfg + off, MIN(len, dev->cfg_len - off));
	unlock(dev);
}

struct cfg_call {
	struct virtio_dev *dev;
	size_t off, len;
};

static void cfg_written_here(void *arg)
{
	struct cfg_call *c = arg;

	c->dev->ops->cfg_write(c->dev, c->off, c->len);
}

void virtio_cfg_store(struct virtio_dev *dev, uint64_t off, const void *buf, size_t len)
{
	struct cfg_call c = {.dev = dev, .off = off, .len = len};

	if (off < dev->cfg_rw_off || off - dev->cfg_rw_off > dev->cfg_rw_len ||
	    len > dev->cfg_rw_len - (off - dev->cfg_rw_off))
		return;
	lock(dev);
	memcpy(dev->cfg + off, buf, len);
	show(dev, VIRTIO_SHOW_CONFIG);
	unlock(dev);
	if (dev->ops->cfg_write)
		on_loop(dev, cfg_written_here, &c);
}
