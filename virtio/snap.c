/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving and loading a virtio device: its register file and its rings' positions here, the rest in the
 * device's own record. Loop thread, with the guest's vCPUs stopped. See virtio.h.
 *
 *   virtio_freeze() ─▶ no chain is taken any more; what runs ends ─▶ virtio_quiet() ─▶ done()
 *   virtio_save()      registers, rings, the device's record
 *   virtio_load()      into a new device on the same guest memory, wherever that is on the host
 *   virtio_thaw()      the old one, or the new one, goes on with what is in the rings
 *
 * A device that is frozen holds no chain: requests that had begun have been answered, and chains that it
 * had only taken in advance are back in the ring (vq_unpop), as if they had never been taken.
 */
#include "virtio/snap.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "virtio/virtio.h"

#define TAG_DEV	    SNAP_TAG('V', 'D', 'E', 'V')
#define TAG_OWN	    SNAP_TAG('V', 'O', 'W', 'N')
#define VERSION	    1u

#define FLAG_RUNS   1u
#define FLAG_BROKEN 2u
#define FLAG_ALIEN  4u /* of the features that were accepted some are beyond bit 63 */

struct rec_wire {
	le32_t tag;
	le16_t version, zero;
	le32_t len;
};
_Static_assert(sizeof(struct rec_wire) == 12, "the form of a record");

struct dev_wire {
	le32_t id, cfg_gen, isr, cfg_len;
	le64_t acked;
	uint8_t status, flags;
	le16_t queues;
	le32_t zero;
};
_Static_assert(sizeof(struct dev_wire) == 32, "no padding");

struct queue_wire {
	le64_t desc, avail, used;
	le16_t size, last_avail, used_idx, signalled;
	le32_t unsignalled;
	uint8_t ready, live, signalled_valid, kicks;
};
_Static_assert(sizeof(struct queue_wire) == 40, "no padding");

/* ---- records ------------------------------------------------------------------------------------- */

int snap_put(struct buf *to, uint32_t tag, uint16_t version, const void *p, size_t len)
{
	struct rec_wire w = {
	    .tag = le32_of(tag), .version = le16_of(version), .len = le32_of((uint32_t)len)};

	if (len > UINT32_MAX || buf_append(to, &w, sizeof(w)) < 0)
		return -ENOMEM;
	return len ? buf_append(to, p, len) : 0;
}

int snap_get(struct snap_rd *r, uint32_t tag, uint16_t version, size_t min, const uint8_t **p,
	     size_t *len)
{
	struct rec_wire w;

	if (r->left < sizeof(w))
		return -EPROTO;
	memcpy(&w, r->p, sizeof(w));
	if (le32_get(w.tag) != tag || le32_get(w.len) > r->left - sizeof(w) ||
	    le32_get(w.len) < min)
		return -EPROTO;
	if (le16_get(w.version) != version)
		return -EOPNOTSUPP;
	*p = r->p + sizeof(w);
	*len = le32_get(w.len);
	r->p += sizeof(w) + *len;
	r->left -= sizeof(w) + *len;
	return 0;
}

/* ---- standing still ------------------------------------------------------------------------------ */

void virtio_freeze(struct virtio_dev *dev, void (*done)(void *arg), void *arg)
{
	BUG_ON(dev->frozen_fn);
	dev->frozen = true;
	dev->frozen_fn = done;
	dev->frozen_arg = arg;
	if (dev->running && !dev->stopping && dev->ops->freeze)
		dev->ops->freeze(dev);
	else
		virtio_quiet(dev);
}

void virtio_quiet(struct virtio_dev *dev)
{
	void (*fn)(void *arg) = dev->frozen_fn;

	dev->frozen_fn = NULL;
	if (fn)
		fn(dev->frozen_arg);
}

void virtio_thaw(struct virtio_dev *dev)
{
	dev->frozen = false;
	dev->frozen_fn = NULL;
	if (!dev->running)
		return;
	/* Interrupts that were on their way when the machine was saved: one too many harms nobody. */
	if (dev->isr)
		virtio_irq(dev, 0);
	for (unsigned i = 0; i < dev->queue_cnt; i++)
		virtio_kick(dev, i);
}

/* ---- saving -------------------------------------------------------------------------------------- */

static int save_queue(const struct vq *q, struct buf *to, const char *name, struct err *e)
{
	struct queue_wire w = {.desc = le64_of(q->desc_gpa),
			       .avail = le64_of(q->avail_gpa),
			       .used = le64_of(q->used_gpa),
			       .size = le16_of(q->size),
			       .last_avail = le16_of(q->last_avail),
			       .used_idx = le16_of(q->used_idx),
			       .signalled = le16_of(q->signalled),
			       .unsignalled = le32_of(q->unsignalled),
			       .ready = q->ready,
			       .live = q->live,
			       .signalled_valid = q->signalled_valid,
			       .kicks = q->kicks};

	for (unsigned i = 0; i < q->num; i++)
		if (q->inflight[i])
			return err_set(e, -EBUSY, "%s: queue %u has a request under way", name,
				       q->idx);
	return buf_append(to, &w, sizeof(w));
}

int virtio_save(struct virtio_dev *dev, struct buf *to, struct err *e)
{
	struct dev_wire w = {.id = le32_of(dev->ops->id),
			     .isr = le32_of(dev->isr),
			     .cfg_gen = le32_of(dev->cfg_gen),
			     .cfg_len = le32_of((uint32_t)dev->cfg_len),
			     .acked = le64_of(dev->acked),
			     .status = dev->status,
			     .queues = le16_of((uint16_t)dev->queue_cnt)};
	struct buf b = {0}, own = {0};
	int rc;

	BUG_ON(!dev->frozen || dev->frozen_fn);
	w.flags = (uint8_t)((dev->running ? FLAG_RUNS : 0) | (dev->broken ? FLAG_BROKEN : 0) |
			    (dev->acked_alien ? FLAG_ALIEN : 0));
	rc = buf_append(&b, &w, sizeof(w));
	if (rc == 0 && dev->cfg_len)
		rc = buf_append(&b, dev->cfg, dev->cfg_len);
	for (unsigned i = 0; rc == 0 && i < dev->queue_cnt; i++)
		rc = save_queue(&dev->vq[i], &b, dev->name, e);
	if (rc == 0)
		rc = snap_put(to, TAG_DEV, VERSION, b.data, b.len);
	if (rc == 0 && dev->ops->save)
		rc = dev->ops->save(dev, &own, e);
	if (rc == 0)
		rc = snap_put(to, TAG_OWN, dev->ops->save_version, own.data, own.len);
	buf_free(&b);
	buf_free(&own);
	return rc < 0 && !(e && e->code) ? err_sys(e, rc, "%s: saving", dev->name) : rc;
}

/* ---- loading ------------------------------------------------------------------------------------- */

static int load_registers(struct virtio_dev *dev, const struct dev_wire *w, struct err *e)
{
	if (le32_get(w->id) != dev->ops->id || le16_get(w->queues) != dev->queue_cnt ||
	    le32_get(w->cfg_len) != dev->cfg_len)
		return err_set(e, -EINVAL, "%s: what was saved is another device", dev->name);
	if (le64_get(w->acked) & ~virtio_offered(dev))
		return err_set(
		    e, -EINVAL, "%s: the guest uses features that this device does not have: %#llx",
		    dev->name, (unsigned long long)(le64_get(w->acked) & ~virtio_offered(dev)));
	if ((w->flags & FLAG_RUNS) &&
	    (!(w->status & VIRTIO_S_DRIVER_OK) || !(le64_get(w->acked) & VIRTIO_F_VERSION_1)))
		return err_set(e, -EINVAL, "%s: saved as running without a driver", dev->name);
	dev->acked = le64_get(w->acked);
	dev->status = w->status;
	dev->cfg_gen = le32_get(w->cfg_gen);
	dev->isr = le32_get(w->isr);
	dev->broken = (w->flags & FLAG_BROKEN) != 0;
	dev->acked_alien = (w->flags & FLAG_ALIEN) != 0;
	return 0;
}

static int load_queue(struct vq *q, const struct queue_wire *w, bool runs)
{
	int rc;

	q->desc_gpa = le64_get(w->desc);
	q->avail_gpa = le64_get(w->avail);
	q->used_gpa = le64_get(w->used);
	q->size = le16_get(w->size);
	q->ready = w->ready;
	if (!w->live || !runs)
		return 0;
	rc = vq_start(q);
	if (rc < 0)
		return rc;
	q->last_avail = le16_get(w->last_avail);
	q->used_idx = le16_get(w->used_idx);
	q->signalled = le16_get(w->signalled);
	q->unsignalled = le32_get(w->unsignalled);
	q->signalled_valid = w->signalled_valid;
	q->kicks = w->kicks;
	return 0;
}

static int load_queues(struct virtio_dev *dev, const uint8_t *p, bool runs, struct err *e)
{
	for (unsigned i = 0; i < dev->queue_cnt; i++) {
		struct queue_wire w;
		int rc;

		memcpy(&w, p + i * sizeof(w), sizeof(w));
		rc = load_queue(&dev->vq[i], &w, runs);
		if (rc < 0)
			return err_sys(e, rc, "%s: queue %u as it was saved", dev->name, i);
	}
	return 0;
}

static int load_all(struct virtio_dev *dev, struct snap_rd *r, bool *runs, struct err *e)
{
	const uint8_t *p, *own;
	struct dev_wire w;
	size_t len, own_len;
	int rc = snap_get(r, TAG_DEV, VERSION, sizeof(w), &p, &len);

	if (rc == 0)
		rc = snap_get(r, TAG_OWN, dev->ops->save_version, 0, &own, &own_len);
	if (rc < 0)
		return err_set(e, rc, "%s: its saved state is cut off or of another version",
			       dev->name);
	memcpy(&w, p, sizeof(w));
	rc = load_registers(dev, &w, e);
	if (rc < 0)
		return rc;
	if (len - sizeof(w) != dev->cfg_len + dev->queue_cnt * sizeof(struct queue_wire))
		return err_set(e, -EPROTO, "%s: its saved state has a wrong length", dev->name);
	/* What the driver has written there; the rest is the new device's own. */
	memcpy(dev->cfg + dev->cfg_rw_off, p + sizeof(w) + dev->cfg_rw_off, dev->cfg_rw_len);
	*runs = (w.flags & FLAG_RUNS) != 0;
	rc = load_queues(dev, p + sizeof(w) + dev->cfg_len, *runs, e);
	if (rc == 0 && *runs && dev->ops->start)
		rc = dev->ops->start(dev);
	if (rc == 0 && dev->ops->load)
		rc = dev->ops->load(dev, own, own_len, e);
	return rc;
}

int virtio_load(struct virtio_dev *dev, struct snap_rd *r, struct err *e)
{
	bool runs = false;
	int rc;

	BUG_ON(dev->running || !dev->mem);
	dev->frozen = true;
	rc = load_all(dev, r, &runs, e);
	if (rc < 0) {
		for (unsigned i = 0; i < dev->queue_cnt; i++)
			vq_stop(&dev->vq[i]);
		return e && e->code ? rc : err_sys(e, rc, "%s: loading", dev->name);
	}
	dev->running = runs;
	(void)pthread_mutex_lock(&dev->lock);
	if (dev->tr && dev->tr->show)
		dev->tr->show(dev->tr_ctx, dev, VIRTIO_SHOW_ALL);
	(void)pthread_mutex_unlock(&dev->lock);
	return 0;
}
