/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, section 5.2): a raw image or block device, one queue, on the ring.
 *
 * Raw only: a format is never guessed from bytes that a guest may have written. Loop thread. A request
 * is taken from the queue with its spans, checked against the capacity, and its bytes go between the
 * file and guest memory without a copy; it ends in request_end(), and only there. Requests beyond
 * capacity or of odd length get IOERR, unknown ones UNSUPP; only a chain without room for the header or
 * the status is a fault of the ring's user and fails the device.
 *
 * A reset waits for what runs: cancelling is asked for, and each completion still comes.
 */
#include "virtio/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/endian.h"
#include "base/fd.h"

#define QUEUE_NUM   256u
#define SEG_MAX	    126u /* spans of data in one request */
#define SPANS	    (SEG_MAX + 2 + GMEM_REGIONS_MAX)
#define SECTOR	    512u
#define SERIAL_LEN  20u
#define RANGE_MAX   (1u << 22) /* sectors of one discard or zeroing: 2 GiB */
#define SPARE_MAX   32u	       /* requests kept; each is some 5 KiB */
#define KICK_BUDGET 512u       /* chains taken before other devices get their turn */

/* 5.2.3 */
#define F_SEG_MAX      (1ull << 2)
#define F_RO	       (1ull << 5)
#define F_BLK_SIZE     (1ull << 6)
#define F_FLUSH	       (1ull << 9)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

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

struct cfg_wire {
	le64_t capacity;
	le32_t size_max, seg_max;
	uint8_t geometry[4];
	le32_t blk_size;
	uint8_t topology[8];
	uint8_t writeback, unused0;
	le16_t num_queues;
	le32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	le32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
};
_Static_assert(sizeof(struct cfg_wire) == 60, "virtio 1.2, 5.2.4");

struct blk;

struct blk_req {
	struct blk *b;
	struct blk_req *next; /* spare list */
	struct list node;     /* running */
	struct vq_chain chain;
	struct loop_op op;
	uint32_t type;
	uint64_t off;	   /* bytes, on the disk */
	size_t len, moved; /* of the data; how much of it is done */
	struct iovec iov[SPANS], data[SPANS];
};

struct blk {
	struct virtio_dev dev; /* first */
	int fd;
	bool readonly, draining;
	uint64_t sectors;
	char serial[SERIAL_LEN];
	struct list running;
	struct blk_req *spare;
	unsigned spare_cnt;
	struct loop_work more; /* the kick went on for too long */
};

static struct blk *blk_of(struct virtio_dev *dev)
{
	return container_of(dev, struct blk, dev);
}

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
	if (!b->draining) {
		(void)iov_write(vq_in(ch), ch->in_cnt, ch->in_len - 1, &status, 1);
		vq_push(b->dev.vq, ch->head, (uint32_t)ch->in_len);
		vq_notify(b->dev.vq);
	}
	request_put(r);
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

/* Submits what is left of the data. */
static void request_data(struct blk_req *r)
{
	struct blk *b = r->b;
	struct vq_chain *ch = &r->chain;
	bool in = r->type == T_IN;
	unsigned cnt;
	size_t len;

	cnt = iov_slice(in ? vq_in(ch) : vq_out(ch), in ? ch->in_cnt : ch->out_cnt,
			r->moved + (in ? 0 : sizeof(struct req_wire)), r->len - r->moved, r->data,
			ARRAY_LEN(r->data), &len);
	r->op.done = request_data_done;
	if (in) {
		r->op.what = "blk read";
		loop_readv(b->dev.loop, &r->op, b->fd, r->data, cnt, r->off + r->moved);
	} else {
		r->op.what = "blk write";
		loop_writev(b->dev.loop, &r->op, b->fd, r->data, cnt, r->off + r->moved);
	}
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
	r->moved += (size_t)res;
	if (b->draining) {
		request_end(r, S_IOERR);
	} else if (r->moved < r->len) {
		request_data(r);
	} else if (r->type == T_OUT && !virtio_has(&b->dev, F_FLUSH)) {
		/* 5.2.6.2: a driver that cannot flush is promised that writes are stable. */
		r->op.done = request_sync_done;
		loop_fsync(b->dev.loop, &r->op, b->fd, true);
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
	if (r->len % SECTOR || !in_capacity(b, sector, r->len / SECTOR) ||
	    (r->type == T_OUT && b->readonly)) {
		request_end(r, S_IOERR);
		return;
	}
	if (!r->len) {
		request_end(r, S_OK);
		return;
	}
	r->off = sector * SECTOR;
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
	if (b->readonly || !sectors || sectors > RANGE_MAX || !in_capacity(b, sector, sectors)) {
		request_end(r, S_IOERR);
		return;
	}
	if (r->type == T_WRITE_ZEROES && !(flags & RANGE_UNMAP))
		mode = FALLOC_FL_ZERO_RANGE;
	r->op.done = request_range_done;
	r->op.what = "blk range";
	loop_fallocate(b->dev.loop, &r->op, b->fd, mode | FALLOC_FL_KEEP_SIZE, sector * SECTOR,
		       (uint64_t)sectors * SECTOR);
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
		r->op.done = request_sync_done;
		r->op.what = "blk flush";
		loop_fsync(b->dev.loop, &r->op, b->fd, true);
		return;
	case T_GET_ID:
		(void)iov_write(vq_in(ch), ch->in_cnt, 0, b->serial,
				MIN(ch->in_len - 1, sizeof(b->serial)));
		request_end(r, S_OK);
		return;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		if (virtio_has(&b->dev, r->type == T_DISCARD ? F_DISCARD : F_WRITE_ZEROES)) {
			begin_range(r);
			return;
		}
		break;
	default:
		break;
	}
	request_end(r, S_UNSUPP);
}

/* ---- device ----------------------------------------------------------------------------------------- */

/* False when there is nothing (more) to take. */
static bool take_one(struct blk *b)
{
	struct blk_req *r = request_get(b);

	if (!r) {
		virtio_fail(&b->dev, "out of memory for a request");
		return false;
	}
	if (vq_pop(b->dev.vq, &r->chain) <= 0) {
		request_put(r);
		return false;
	}
	if (r->chain.out_len < sizeof(struct req_wire) || !r->chain.in_len) {
		virtio_fail(&b->dev, "a request of %zu bytes with room for %zu", r->chain.out_len,
			    r->chain.in_len);
		request_put(r);
		return false;
	}
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
		while (budget && take_one(b))
			budget--;
		if (!budget) {
			loop_post(dev->loop, &b->more);
			return;
		}
	} while (vq_kicks_on(q));
}

static void kick_more(struct loop_work *w)
{
	struct blk *b = container_of(w, struct blk, more);

	if (b->draining)
		drained_maybe(b);
	else if (b->dev.running)
		blk_kick(&b->dev, b->dev.vq);
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
	(void)dev;
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
	fd_close(&b->fd);
	virtio_fini(dev);
	free(b);
}

static const struct virtio_ops blk_ops = {
    .name = "blk",
    .id = VIRTIO_ID_BLK,
    .start = blk_start,
    .kick = blk_kick,
    .stop = blk_stop,
    .free = blk_free,
};

/* ---- constructor ------------------------------------------------------------------------------------ */

/* Size in bytes and logical block size. */
static int measure(const struct blk *b, const char *name, uint64_t *size, uint32_t *block,
		   struct stat *st, struct err *e)
{
	int bs = SECTOR;

	if (fstat(b->fd, st) < 0)
		return err_sys(e, -errno, "disk %s", name);
	if (S_ISREG(st->st_mode)) {
		*size = (uint64_t)st->st_size;
	} else if (S_ISBLK(st->st_mode)) {
		if (ioctl(b->fd, BLKGETSIZE64, size) < 0 || ioctl(b->fd, BLKSSZGET, &bs) < 0)
			return err_sys(e, -errno, "disk %s: asking for its size", name);
	} else {
		return err_set(e, -EINVAL, "disk %s: neither a regular file nor a block device",
			       name);
	}
	if (*size < SECTOR)
		return err_set(e, -EINVAL, "disk %s: smaller than one sector of %u bytes", name,
			       SECTOR);
	*block = (uint32_t)bs;
	return 0;
}

/* Two writers destroy a file system; the lock lasts as long as the descriptor. */
static int lock_image(const struct blk *b, const char *name, struct err *e)
{
	struct flock fl = {.l_type = b->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(b->fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(e, -EBUSY, "disk %s: the image is in use by another process", name);
	return err_sys(e, -errno, "disk %s: locking the image", name);
}

/* Whether the file system can punch holes and zero ranges: tried behind the end, and undone. */
static uint64_t range_features(const struct blk *b, const struct stat *st)
{
	off_t end = ALIGN_UP(st->st_size, (off_t)1 << 20);
	uint64_t f = 0;

	if (b->readonly || !S_ISREG(st->st_mode))
		return 0;
	if (fallocate(b->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0)
		f |= F_WRITE_ZEROES;
	if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0)
		f |= F_DISCARD;
	return f & F_DISCARD ? f : 0;
}

static int blk_setup(struct blk *b, const char *name, const struct blk_config *cfg, struct err *e)
{
	const uint16_t num = QUEUE_NUM;
	struct cfg_wire w = {.seg_max = le32_of(SEG_MAX)};
	uint64_t size = 0, features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH;
	uint32_t block = SECTOR;
	struct stat st;
	int rc;

	if (cfg->serial && strlen(cfg->serial) > SERIAL_LEN)
		return err_set(e, -EINVAL, "disk %s: serial '%s' has more than %u bytes", name,
			       cfg->serial, SERIAL_LEN);
	if (cfg->serial)
		memcpy(b->serial, cfg->serial, strlen(cfg->serial)); /* padded with NUL, 5.2.6 */
	rc = measure(b, name, &size, &block, &st, e);
	if (rc == 0)
		rc = lock_image(b, name, e);
	if (rc < 0)
		return rc;
	features |= range_features(b, &st);
	if (b->readonly)
		features |= F_RO;
	b->sectors = size / SECTOR;
	w.capacity = le64_of(b->sectors);
	w.blk_size = le32_of(block);
	if (features & F_DISCARD) {
		w.max_discard_sectors = le32_of(RANGE_MAX);
		w.max_discard_seg = le32_of(1);
		w.discard_sector_alignment = le32_of(1);
	}
	if (features & F_WRITE_ZEROES) {
		w.max_write_zeroes_sectors = le32_of(RANGE_MAX);
		w.max_write_zeroes_seg = le32_of(1);
		w.write_zeroes_may_unmap = 1;
	}
	rc = virtio_init(&b->dev, &blk_ops, name, features, 1, &num, sizeof(w));
	if (rc < 0)
		return err_sys(e, rc, "disk %s", name);
	memcpy(b->dev.cfg, &w, sizeof(w));
	return 0;
}

int blk_new(struct virtio_dev **ret, const char *name, const struct blk_config *cfg, struct err *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	int rc;

	if (!b) {
		int fd = cfg->fd;

		fd_close(&fd);
		return err_set(e, -ENOMEM, "disk %s: out of memory", name);
	}
	b->fd = cfg->fd;
	b->readonly = cfg->readonly;
	b->more.fn = kick_more;
	list_init(&b->running);
	rc = blk_setup(b, name, cfg, e);
	if (rc < 0) {
		fd_close(&b->fd);
		free(b);
		return rc;
	}
	*ret = &b->dev;
	return 0;
}
