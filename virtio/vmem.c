/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mem (virtio 1.2, section 5.15): a region of guest-physical memory of which the guest plugs and
 * unplugs blocks, so that it has as much as is requested. Loop thread.
 *
 *   requested_size   what the guest is to have, set by vmem_request_size()
 *   plugged_size     what it has: the blocks whose bit is set
 *   usable size      how far into the region it may plug: requested plus some room, so that a kernel that
 *                    cannot use every block finds others. Grows only: grow() makes the memory behind it.
 *
 * A request that asks for what the driver knows to be wrong (alignment, range, a block in the other
 * state) is answered with an error, as the specification says; only a chain that is none of its
 * requests fails the device. A block that is unplugged goes back to the host at once.
 *
 * A driver that lies can use memory of the usable part that it has not plugged, as with every
 * implementation that does not map block by block; what binds it is the usable size, and the control
 * group of the process.
 */
#include "virtio/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

#define QUEUE_NUM 64u
#define SPANS	  8u /* of the few bytes each way, cut as guest memory may cut them */
#define BUDGET	  64u
/* Linux adds memory in sections of 128 MiB; two of them are room to choose. */
#define SECTION	 (128ull << 20)
#define HEADROOM (2 * SECTION)

enum { REQ_PLUG = 0, REQ_UNPLUG = 1, REQ_UNPLUG_ALL = 2, REQ_STATE = 3 };
enum { RESP_ACK = 0, RESP_NACK = 1, RESP_BUSY = 2, RESP_ERROR = 3 };
enum { STATE_PLUGGED = 0, STATE_UNPLUGGED = 1, STATE_MIXED = 2 };

struct cfg_wire {
	le64_t block_size;
	le16_t node_id;
	uint8_t padding[6];
	le64_t addr, region_size, usable_region_size, plugged_size, requested_size;
};
_Static_assert(sizeof(struct cfg_wire) == 56, "virtio 1.2, 5.15.4");

struct req_wire {
	le16_t type, padding[3];
	le64_t addr;
	le16_t nb_blocks, padding2[3];
};
_Static_assert(sizeof(struct req_wire) == 24, "virtio 1.2, 5.15.6");

struct resp_wire {
	le16_t type, padding[3], state;
};
_Static_assert(sizeof(struct resp_wire) == 10, "virtio 1.2, 5.15.6");

struct vmem {
	struct virtio_dev dev; /* first */
	struct vmem_config cfg;
	uint64_t requested, plugged, usable;
	struct loop_work more; /* a kick went on for too long */
	bool draining;
	uint8_t *map; /* a bit for each block */
};

static struct vmem *vmem_of(struct virtio_dev *dev)
{
	return container_of(dev, struct vmem, dev);
}

/* ---- blocks --------------------------------------------------------------------------------------
 */

static bool block_get(const struct vmem *v, uint64_t n)
{
	return v->map[n / 8] & 1u << n % 8;
}

static void block_set(struct vmem *v, uint64_t n, bool on)
{
	if (on)
		v->map[n / 8] |= (uint8_t)(1u << n % 8);
	else
		v->map[n / 8] &= (uint8_t) ~(1u << n % 8);
}

static uint64_t count_plugged(const struct vmem *v, uint64_t first, uint64_t cnt)
{
	uint64_t on = 0;

	for (uint64_t i = 0; i < cnt; i++)
		on += block_get(v, first + i);
	return on;
}

/* The blocks that a request names: false when they are not all in the first @limit bytes. */
static bool range(const struct vmem *v, const struct req_wire *r, uint64_t limit, uint64_t *first,
		  uint64_t *cnt)
{
	uint64_t off = le64_get(r->addr) - v->cfg.gpa;

	*cnt = le16_get(r->nb_blocks);
	*first = off / VMEM_BLOCK;
	return off % VMEM_BLOCK == 0 && off < limit && *cnt && *cnt <= (limit - off) / VMEM_BLOCK;
}

static void put_plugged(struct virtio_dev *dev, void *arg)
{
	le64_t w = le64_of(*(const uint64_t *)arg);

	memcpy(dev->cfg + offsetof(struct cfg_wire, plugged_size), &w, sizeof(w));
}

/* The driver knows what it did: no interrupt tells it. */
static void set_plugged(struct vmem *v, uint64_t bytes)
{
	v->plugged = bytes;
	virtio_cfg_quiet_update(&v->dev, put_plugged, &bytes);
	if (v->cfg.changed)
		v->cfg.changed(v->cfg.ctx);
}

static void set_blocks(struct vmem *v, uint64_t first, uint64_t cnt, bool on)
{
	for (uint64_t i = 0; i < cnt; i++)
		block_set(v, first + i, on);
	set_plugged(v, on ? v->plugged + cnt * VMEM_BLOCK : v->plugged - cnt * VMEM_BLOCK);
}

static void give_back(struct vmem *v, uint64_t first, uint64_t cnt)
{
	int rc = gmem_discard(v->dev.mem, v->cfg.gpa + first * VMEM_BLOCK, cnt * VMEM_BLOCK);

	if (rc < 0) /* locked by the host's user: it costs memory, and the guest goes on */
		log_limited(&v->dev.log, LOG_LVL_WARN, "%s: giving memory back: %s", v->dev.name,
			    strerror(-rc));
}

/* ---- requests ------------------------------------------------------------------------------------
 */

static uint16_t plug(struct vmem *v, const struct req_wire *r)
{
	uint64_t first, cnt;

	if (!range(v, r, v->usable, &first, &cnt) || count_plugged(v, first, cnt))
		return RESP_ERROR;
	if (v->plugged > v->requested || cnt > (v->requested - v->plugged) / VMEM_BLOCK)
		return RESP_NACK;
	set_blocks(v, first, cnt, true);
	return RESP_ACK;
}

static uint16_t unplug(struct vmem *v, const struct req_wire *r)
{
	uint64_t first, cnt;

	if (!range(v, r, v->usable, &first, &cnt) || count_plugged(v, first, cnt) != cnt)
		return RESP_ERROR;
	give_back(v, first, cnt);
	set_blocks(v, first, cnt, false);
	return RESP_ACK;
}

static uint16_t unplug_all(struct vmem *v)
{
	if (v->usable)
		give_back(v, 0, v->usable / VMEM_BLOCK);
	memset(v->map, 0, v->cfg.len / VMEM_BLOCK / 8 + 1);
	set_plugged(v, 0);
	return RESP_ACK;
}

static uint16_t state(const struct vmem *v, const struct req_wire *r, uint16_t *ret)
{
	uint64_t first, cnt, on;

	if (!range(v, r, v->usable, &first, &cnt))
		return RESP_ERROR;
	on = count_plugged(v, first, cnt);
	*ret = on == cnt ? STATE_PLUGGED : on ? STATE_MIXED : STATE_UNPLUGGED;
	return RESP_ACK;
}

static void serve(struct vmem *v, struct vq *q, const struct vq_chain *c)
{
	struct resp_wire resp = {0};
	uint16_t answer = RESP_ERROR, what = 0;
	struct req_wire r;

	if (iov_read(vq_out(c), c->out_cnt, 0, &r, sizeof(r)) != sizeof(r) ||
	    c->in_len < sizeof(resp)) {
		virtio_fail(&v->dev, "a request of %zu bytes with %zu for the answer", c->out_len,
			    c->in_len);
		vq_push(q, c->head, 0);
		return;
	}
	switch (le16_get(r.type)) {
	case REQ_PLUG:
		answer = plug(v, &r);
		break;
	case REQ_UNPLUG:
		answer = unplug(v, &r);
		break;
	case REQ_UNPLUG_ALL:
		answer = unplug_all(v);
		break;
	case REQ_STATE:
		answer = state(v, &r, &what);
		break;
	default:
		break;
	}
	resp.type = le16_of(answer);
	resp.state = le16_of(what);
	(void)iov_write(vq_in(c), c->in_cnt, 0, &resp, sizeof(resp));
	vq_push(q, c->head, sizeof(resp));
}

static void vmem_kick(struct virtio_dev *dev, struct vq *q)
{
	struct vmem *v = vmem_of(dev);
	unsigned left = BUDGET;

	while (left) {
		struct iovec iov[SPANS];
		struct vq_chain c = {.iov = iov, .cap = SPANS};

		if (vq_pop(q, &c) != 1)
			break;
		serve(v, q, &c);
		left--;
	}
	vq_notify(q);
	if (!left && dev->loop)
		loop_post(dev->loop, &v->more);
}

static void kick_more(struct loop_work *w)
{
	struct vmem *v = container_of(w, struct vmem, more);

	if (v->draining) {
		v->draining = false;
		virtio_stopped(&v->dev);
		return;
	}
	virtio_kick(&v->dev, 0);
}

/* ---- the host's side ------------------------------------------------------------------------------
 */

static void put_request(struct virtio_dev *dev, void *arg)
{
	const struct vmem *v = arg;
	struct cfg_wire w;

	memcpy(&w, dev->cfg, sizeof(w));
	w.usable_region_size = le64_of(v->usable);
	w.requested_size = le64_of(v->requested);
	memcpy(dev->cfg, &w, sizeof(w));
}

int vmem_request_size(struct virtio_dev *dev, uint64_t bytes)
{
	struct vmem *v = vmem_of(dev);
	uint64_t usable;
	int rc;

	if (bytes > v->cfg.len)
		return -ERANGE;
	bytes = ALIGN_UP(bytes, VMEM_BLOCK);
	usable = bytes ? MIN(ALIGN_UP(bytes, SECTION) + HEADROOM, v->cfg.len) : 0;
	if (usable > v->usable) {
		rc = v->cfg.grow ? v->cfg.grow(v->cfg.ctx, usable) : 0;
		if (rc < 0)
			return rc;
		v->usable = usable;
	}
	v->requested = bytes;
	virtio_cfg_update(dev, put_request, v);
	return 0;
}

void vmem_size(struct virtio_dev *dev, struct vmem_size *ret)
{
	const struct vmem *v = vmem_of(dev);

	*ret =
	    (struct vmem_size){.max = v->cfg.len, .requested = v->requested, .plugged = v->plugged};
}

/* ---- device --------------------------------------------------------------------------------------
 */

static void vmem_stop(struct virtio_dev *dev)
{
	struct vmem *v = vmem_of(dev);

	/* What is plugged stays plugged over a reset (5.15.5.2). */
	if (v->more.queued)
		v->draining = true;
	else
		virtio_stopped(dev);
}

/* requested, usable, and a bit for each block. */
static int vmem_save(struct virtio_dev *dev, struct buf *to, struct err *e)
{
	const struct vmem *v = vmem_of(dev);
	const le64_t w[2] = {le64_of(v->requested), le64_of(v->usable)};
	int rc = buf_append(to, w, sizeof(w));

	(void)e;
	return rc ? rc : buf_append(to, v->map, v->cfg.len / VMEM_BLOCK / 8 + 1);
}

static int vmem_load(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e)
{
	struct vmem *v = vmem_of(dev);
	uint64_t usable, blocks = v->cfg.len / VMEM_BLOCK;
	le64_t w[2];
	int rc = 0;

	if (len != sizeof(w) + blocks / 8 + 1)
		return err_set(e, -EINVAL, "%s: it was saved with another size", dev->name);
	memcpy(w, p, sizeof(w));
	v->requested = le64_get(w[0]);
	usable = le64_get(w[1]);
	if (v->requested > v->cfg.len || usable > v->cfg.len || usable % VMEM_BLOCK)
		return -EPROTO;
	memcpy(v->map, p + sizeof(w), len - sizeof(w));
	v->plugged = count_plugged(v, 0, blocks) * VMEM_BLOCK;
	/* A block beyond what may be used is nobody's memory. */
	if (count_plugged(v, 0, usable / VMEM_BLOCK) * VMEM_BLOCK != v->plugged)
		return -EPROTO;
	if (usable && v->cfg.grow)
		rc = v->cfg.grow(v->cfg.ctx, usable);
	if (rc < 0)
		return rc;
	v->usable = usable;
	put_request(dev, v);
	put_plugged(dev, &v->plugged);
	return 0;
}

static void vmem_free(struct virtio_dev *dev)
{
	struct vmem *v = vmem_of(dev);

	virtio_fini(dev);
	free(v->map);
	free(v);
}

static const struct virtio_ops vmem_ops = {
    .name = "mem",
    .id = VIRTIO_ID_MEM,
    .kick = vmem_kick,
    .stop = vmem_stop,
    .save_version = 1,
    .save = vmem_save,
    .load = vmem_load,
    .free = vmem_free,
};

int vmem_new(struct virtio_dev **ret, const char *name, const struct vmem_config *cfg,
	     struct err *e)
{
	static const uint16_t max[] = {QUEUE_NUM};
	struct cfg_wire w = {.block_size = le64_of(VMEM_BLOCK),
			     .addr = le64_of(cfg->gpa),
			     .region_size = le64_of(cfg->len)};
	struct vmem *v;

	if (!cfg->len || cfg->len % VMEM_BLOCK || cfg->gpa % VMEM_BLOCK ||
	    cfg->len - 1 > UINT64_MAX - cfg->gpa)
		return err_set(e, -EINVAL, "memory '%s': not a region of blocks of 2 MiB", name);
	v = calloc(1, sizeof(*v));
	if (v)
		v->map = calloc(cfg->len / VMEM_BLOCK / 8 + 1, 1);
	if (!v || !v->map || virtio_init(&v->dev, &vmem_ops, name, 0, 1, max, sizeof(w)) < 0) {
		if (v)
			free(v->map);
		free(v);
		return err_set(e, -ENOMEM, "memory '%s': out of memory", name);
	}
	memcpy(v->dev.cfg, &w, sizeof(w));
	v->cfg = *cfg;
	v->more.fn = kick_more;
	*ret = &v->dev;
	return 0;
}
