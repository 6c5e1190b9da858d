/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, section 5.2): requests to a raw image or block device, on the ring.
 *
 * Raw only: a format is never guessed from bytes that a guest may have written. Loop thread. A request
 * is taken from one of the queues with its spans, checked against the capacity, and its bytes go between
 * the file and guest memory without a copy; it ends in request_end(), and only there. Requests beyond
 * capacity or of odd length get IOERR, unknown ones UNSUPP; only a chain without room for the header or
 * the status is a fault of the ring's user and fails the device.
 *
 * With O_DIRECT the kernel wants buffers on certain bounds. A request whose spans lie elsewhere goes
 * piece by piece through a buffer of its own.
 *
 * A reset waits for what runs: cancelling is asked for, and each completion still comes.
 */
#include "virtio/blk_priv.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#define SPANS	    (BLK_SEG_MAX + 2 + GMEM_REGIONS_MAX)
#define SPARE_MAX   32u	 /* requests kept; each is some 5 KiB */
#define KICK_BUDGET 512u /* chains taken before other devices get their turn */
#define BOUNCE_LEN  (64u << 10)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
#define RANGE_UNMAP 1u

struct req_wire {
	le32_t type, reserved;
	le64_t sector;
};
_Static_assert(sizeof(struct req_wire) == 16, "virtio 1.2, 5.2.6");

struct range_wire {
	le64_t sector;
	le32_t sectors, flags;
};
_Static_assert(sizeof(struct range_wire) == 16, "virtio 1.2, 5.2.6");

struct blk_req {
	struct blk *b;
	struct blk_req *next; /* spare list */
	struct list node;     /* running */
	struct vq *q;
	struct vq_chain chain;
	struct loop_op op;
	uint32_t type;
	uint64_t off;	   /* bytes, on the disk */
	size_t len, moved; /* of the data; how much of it is done */
	uint8_t *bounce;   /* BOUNCE_LEN bytes, when the spans are on odd bounds */
	bool bounced;	   /* what is under way goes through it */
	struct iovec iov[SPANS], data[SPANS];
};

/* ---- requests --------------------------------------------------------------------------------------- */

static struct blk_req *request_get(struct blk *b)
{
	struct blk_req *r = b->spare;

	if (r) {
		b->spare = r->next;
		b->spare_cnt--;
	} else {
		r = malloc(sizeof(*r));
		if (!r)
			return NULL;
	}
	memset(r, 0, offsetof(struct blk_req, iov));
	r->b = b;
	r->chain.iov = r->iov;
	r->chain.cap = ARRAY_LEN(r->iov);
	list_init(&r->node);
	return r;
}

static void request_put(struct blk_req *r)
{
	struct blk *b = r->b;

	free(r->bounce);
	r->bounce = NULL;
	if (b->spare_cnt >= SPARE_MAX) {
		free(r);
		return;
	}
	r->next = b->spare;
	b->spare = r;
	b->spare_cnt++;
}

static void drained_maybe(struct blk *b)
{
	if (!b->draining || !list_empty(&b->running) || b->more.queued)
		return;
	b->draining = false;
	virtio_stopped(&b->dev); /* may be the end of b */
}

static void request_end(struct blk_req *r, uint8_t status)
{
	struct blk *b = r->b;
	struct vq_chain *ch = &r->chain;

	list_del(&r->node);
	b->errors += status == S_IOERR;
	if (!b->draining) {
		(void)iov_write(vq_in(ch), ch->in_cnt, ch->in_len - 1, &status, 1);
		vq_push(r->q, ch->head, (uint32_t)ch->in_len);
		vq_notify(r->q);
	}
	request_put(r);
	if (list_empty(&b->running))
		virtio_quiet(&b->dev);
	drained_maybe(b);
}

static void request_sync_done(struct loop_op *op, int res, unsigned flags)
{
	(void)flags;
	request_end(container_of(op, struct blk_req, op), res < 0 ? S_IOERR : S_OK);
}

static void request_range_done(struct loop_op *op, int res, unsigned flags)
{
	(void)flags;
	request_end(container_of(op, struct blk_req, op), res == -EOPNOTSUPP ? S_UNSUPP
							  : res < 0	     ? S_IOERR
									     : S_OK);
}

static void request_data_done(struct loop_op *op, int res, unsigned flags);

static bool on_bounds(const struct blk_req *r, unsigned cnt)
{
	uintptr_t all = 0;

	for (unsigned i = 0; i < cnt; i++)
		all |= (uintptr_t)r->data[i].iov_base | r->data[i].iov_len;
	return !(all & (r->b->mem_align - 1));
}

/* The data's part of the chain, from the byte that comes next. */
static size_t data_at(const struct blk_req *r)
{
	return r->moved + (r->type == T_IN ? 0 : sizeof(struct req_wire));
}

static void request_bounce(struct blk_req *r)
{
	struct blk *b = r->b;
	const struct vq_chain *ch = &r->chain;
	unsigned len = (unsigned)MIN(r->len - r->moved, (size_t)BOUNCE_LEN);

	if (!r->bounce)
		r->bounce = aligned_alloc(4096, BOUNCE_LEN);
	if (!r->bounce) {
		request_end(r, S_IOERR);
		return;
	}
	r->bounced = true;
	b->bounced++;
	if (r->type == T_IN) {
		loop_read(b->dev.loop, &r->op, b->file, r->bounce, len, r->off + r->moved);
		return;
	}
	(void)iov_read(vq_out(ch), ch->out_cnt, data_at(r), r->bounce, len);
	loop_write(b->dev.loop, &r->op, b->file, r->bounce, len, r->off + r->moved);
}

/* Submits what is left of the data. */
static void request_data(struct blk_req *r)
{
	struct blk *b = r->b;
	struct vq_chain *ch = &r->chain;
	bool in = r->type == T_IN;
	unsigned cnt;
	size_t len;

	cnt = iov_slice(in ? vq_in(ch) : vq_out(ch), in ? ch->in_cnt : ch->out_cnt, data_at(r),
			r->len - r->moved, r->data, ARRAY_LEN(r->data), &len);
	r->op.done = request_data_done;
	r->op.what = in ? "blk read" : "blk write";
	r->bounced = false;
	if (b->mem_align > 1 && !on_bounds(r, cnt))
		request_bounce(r);
	else if (in)
		loop_readv(b->dev.loop, &r->op, b->file, r->data, cnt, r->off + r->moved);
	else
		loop_writev(b->dev.loop, &r->op, b->file, r->data, cnt, r->off + r->moved);
}

static void request_data_done(struct loop_op *op, int res, unsigned flags)
{
	struct blk_req *r = container_of(op, struct blk_req, op);
	struct blk *b = r->b;

	(void)flags;
	/* 0: the image was cut short behind our back. */
	if (res <= 0) {
		request_end(r, S_IOERR);
		return;
	}
	if (r->bounced && r->type == T_IN && !b->draining)
		(void)iov_write(vq_in(&r->chain), r->chain.in_cnt, r->moved, r->bounce,
				(size_t)res);
	r->moved += (size_t)res;
	if (b->draining) {
		request_end(r, S_IOERR);
	} else if (r->moved < r->len) {
		request_data(r);
	} else if (r->type == T_OUT && !virtio_has(&b->dev, BLK_F_FLUSH)) {
		/* 5.2.6.2: a driver that cannot flush is promised that writes are stable. */
		r->op.done = request_sync_done;
		loop_fsync(b->dev.loop, &r->op, b->file, true);
	} else {
		request_end(r, S_OK);
	}
}

static bool in_capacity(const struct blk *b, uint64_t sector, uint64_t sectors)
{
	return sector <= b->sectors && sectors <= b->sectors - sector;
}

static void begin_data(struct blk_req *r, uint64_t sector)
{
	struct blk *b = r->b;

	r->len = r->type == T_IN ? r->chain.in_len - 1 : r->chain.out_len - sizeof(struct req_wire);
	if (r->len % BLK_SECTOR || !in_capacity(b, sector, r->len / BLK_SECTOR) ||
	    (r->type == T_OUT && b->readonly)) {
		request_end(r, S_IOERR);
		return;
	}
	if (!r->len) {
		request_end(r, S_OK);
		return;
	}
	r->off = sector * BLK_SECTOR;
	request_data(r);
}

static void begin_range(struct blk_req *r)
{
	struct blk *b = r->b;
	struct range_wire w;
	uint64_t sector;
	uint32_t sectors, flags;
	int mode = FALLOC_FL_PUNCH_HOLE;

	if (r->chain.out_len !=
	    sizeof(struct req_wire) + sizeof(w)) { /* one range, as we announce */
		request_end(r, S_UNSUPP);
		return;
	}
	(void)iov_read(vq_out(&r->chain), r->chain.out_cnt, sizeof(struct req_wire), &w, sizeof(w));
	sector = le64_get(w.sector);
	sectors = le32_get(w.sectors);
	flags = le32_get(w.flags);
	if (flags & ~(r->type == T_WRITE_ZEROES ? RANGE_UNMAP : 0)) {
		request_end(r, S_UNSUPP);
		return;
	}
	if (b->readonly || !sectors || sectors > BLK_RANGE_MAX ||
	    !in_capacity(b, sector, sectors)) {
		request_end(r, S_IOERR);
		return;
	}
	if (r->type == T_WRITE_ZEROES && !(flags & RANGE_UNMAP))
		mode = FALLOC_FL_ZERO_RANGE;
	r->op.done = request_range_done;
	r->op.what = "blk range";
	loop_fallocate(b->dev.loop, &r->op, b->file, mode | FALLOC_FL_KEEP_SIZE,
		       sector * BLK_SECTOR, (uint64_t)sectors * BLK_SECTOR);
}

static void begin(struct blk_req *r)
{
	struct blk *b = r->b;
	struct vq_chain *ch = &r->chain;
	struct req_wire w;

	(void)iov_read(vq_out(ch), ch->out_cnt, 0, &w, sizeof(w));
	r->type = le32_get(w.type);
	list_add_tail(&b->running, &r->node);
	switch (r->type) {
	case T_IN:
	case T_OUT:
		begin_data(r, le64_get(w.sector));
		return;
	case T_FLUSH:
		if (b->fd < 0)
			break;
		r->op.done = request_sync_done;
		r->op.what = "blk flush";
		loop_fsync(b->dev.loop, &r->op, b->file, true);
		return;
	case T_GET_ID:
		(void)iov_write(vq_in(ch), ch->in_cnt, 0, b->serial,
				MIN(ch->in_len - 1, sizeof(b->serial)));
		request_end(r, S_OK);
		return;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		if (virtio_has(&b->dev,
			       r->type == T_DISCARD ? BLK_F_DISCARD : BLK_F_WRITE_ZEROES)) {
			begin_range(r);
			return;
		}
		break;
	default:
		break;
	}
	/* A spare without an image has nothing to flush. */
	request_end(r, r->type == T_FLUSH ? S_OK : S_UNSUPP);
}

/* ---- device ----------------------------------------------------------------------------------------- */

/* False when there is nothing (more) to take. */
static bool take_one(struct blk *b, struct vq *q)
{
	struct blk_req *r = request_get(b);

	if (!r) {
		virtio_fail(&b->dev, "out of memory for a request");
		return false;
	}
	if (vq_pop(q, &r->chain) <= 0) {
		request_put(r);
		return false;
	}
	if (r->chain.out_len < sizeof(struct req_wire) || !r->chain.in_len) {
		virtio_fail(&b->dev, "a request of %zu bytes with room for %zu", r->chain.out_len,
			    r->chain.in_len);
		request_put(r);
		return false;
	}
	r->q = q;
	begin(r);
	return true;
}

static void blk_kick(struct virtio_dev *dev, struct vq *q)
{
	struct blk *b = blk_of(dev);
	unsigned budget = KICK_BUDGET;

	if (b->draining)
		return;
	do {
		vq_kicks_off(q);
		while (budget && take_one(b, q))
			budget--;
		if (!budget) {
			loop_post(dev->loop, &b->more);
			return;
		}
	} while (vq_kicks_on(q));
}

void blk_more(struct loop_work *w)
{
	struct blk *b = container_of(w, struct blk, more);

	if (b->draining) {
		drained_maybe(b);
		return;
	}
	for (unsigned i = 0; i < b->dev.queue_cnt; i++)
		virtio_kick(&b->dev, i);
}

static void blk_stop(struct virtio_dev *dev)
{
	struct blk *b = blk_of(dev);

	b->draining = true;
	list_for_each (pos, &b->running)
		loop_cancel(dev->loop, &list_entry(pos, struct blk_req, node)->op);
	drained_maybe(b);
}

static int blk_start(struct virtio_dev *dev)
{
	blk_register(blk_of(dev));
	return 0;
}

static void blk_free(struct virtio_dev *dev)
{
	struct blk *b = blk_of(dev);

	BUG_ON(!list_empty(&b->running));
	while (b->spare) {
		struct blk_req *r = b->spare;

		b->spare = r->next;
		free(r);
	}
	blk_close(b);
	virtio_fini(dev);
	free(b);
}

static void blk_freeze(struct virtio_dev *dev)
{
	if (list_empty(&blk_of(dev)->running))
		virtio_quiet(dev); /* else the last request says so */
}

static void blk_counters(struct virtio_dev *dev,
			 void (*tell)(void *ctx, const char *name, uint64_t v), void *ctx)
{
	const struct blk *b = blk_of(dev);

	tell(ctx, "errors", b->errors);
	tell(ctx, "bounced", b->bounced);
}

const struct virtio_ops blk_device_ops = {
    .name = "blk",
    .id = VIRTIO_ID_BLK,
    .start = blk_start,
    .kick = blk_kick,
    .stop = blk_stop,
    .freeze = blk_freeze,
    .save_version = 1,
    .save = blk_save,
    .load = blk_load,
    .counters = blk_counters,
    .free = blk_free,
};
