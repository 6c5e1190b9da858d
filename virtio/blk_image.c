/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image behind virtio-blk: its size, lock and abilities, spare disks that get theirs later, growth.
 * Loop thread, but for the constructor.
 */
#include "virtio/blk_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/fd.h"

#define QUEUE_NUM 256u

/* Bounds of O_DIRECT for an open file (Linux 6.1); what has no answer is taken for the block size. */
static int ask_direct(struct blk *b, const char *name, struct err *e)
{
	struct statx sx = {0};

	b->mem_align = b->block = MAX(b->block, 4096u);
#ifdef STATX_DIOALIGN
	if (statx(b->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
	    (sx.stx_mask & STATX_DIOALIGN)) {
		if (!sx.stx_dio_offset_align)
			return err_set(e, -EOPNOTSUPP, "disk %s: its file system has no direct I/O",
				       name);
		b->block = MAX((unsigned)sx.stx_dio_offset_align, BLK_SECTOR);
		b->mem_align = MAX((unsigned)sx.stx_dio_mem_align, 1u);
	}
#else
	(void)sx;
	(void)name;
	(void)e;
#endif
	return 0;
}

/* Size in bytes, and the bounds that requests should keep. */
static int measure(struct blk *b, const char *name, uint64_t *size, struct err *e)
{
	int bs = BLK_SECTOR, flags = fcntl(b->fd, F_GETFL), rc = 0;
	struct stat st;

	if (flags < 0 || fstat(b->fd, &st) < 0) {
		rc = -errno;
		return err_sys(e, rc, "disk %s", name);
	}
	if (S_ISREG(st.st_mode)) {
		*size = (uint64_t)st.st_size;
	} else if (S_ISBLK(st.st_mode)) {
		if (ioctl(b->fd, BLKGETSIZE64, size) < 0 || ioctl(b->fd, BLKSSZGET, &bs) < 0) {
			rc = -errno;
			return err_sys(e, rc, "disk %s: asking for its size", name);
		}
	} else {
		return err_set(e, -EINVAL, "disk %s: neither a regular file nor a block device",
			       name);
	}
	b->block = (unsigned)bs;
	b->mem_align = 1;
	if (flags & O_DIRECT)
		rc = ask_direct(b, name, e);
	if (rc == 0 && *size < b->block)
		return err_set(e, -EINVAL, "disk %s: smaller than one sector of %u bytes", name,
			       b->block);
	*size = ALIGN_DOWN(*size, (uint64_t)b->block);
	return rc;
}

/* Two writers destroy a file system; the lock lasts as long as the open file, or until unlock_image(). */
static int lock_image(const struct blk *b, const char *name, struct err *e)
{
	struct flock fl = {.l_type = b->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	int rc;

	if (fcntl(b->fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	rc = -errno;
	if (rc == -EAGAIN || rc == -EACCES)
		return err_set(e, -EBUSY, "disk %s: the image is in use by another process", name);
	return err_sys(e, rc, "disk %s: locking the image", name);
}

/*
 * Whether holes can be punched and ranges be zeroed. A file system is tried behind the end of the file,
 * and leaves nothing; a block device is asked each time, and says when it cannot.
 */
static uint64_t range_features(const struct blk *b)
{
	struct stat st;
	uint64_t f = 0;
	off_t end;

	if (b->readonly || fstat(b->fd, &st) < 0)
		return 0;
	if (!S_ISREG(st.st_mode))
		return BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
	end = ALIGN_UP(st.st_size, (off_t)1 << 20);
	if (fallocate(b->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0)
		f |= BLK_F_WRITE_ZEROES;
	if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0)
		f |= BLK_F_DISCARD;
	return f & BLK_F_DISCARD ? f : 0;
}

void blk_register(struct blk *b)
{
	if (b->file == b->fd && b->fd >= 0 && b->dev.loop)
		b->file = loop_file_add(b->dev.loop, b->fd);
}

void blk_unregister(struct blk *b)
{
	if (b->file != b->fd && b->dev.loop)
		loop_file_del(b->dev.loop, b->file);
	b->file = b->fd;
}

/* Closing would do, but the ring holds the open file too, and lets it go some time after the process's end. */
static void unlock_image(const struct blk *b)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	(void)fcntl(b->fd, F_OFD_SETLK, &fl);
}

void blk_close(struct blk *b)
{
	blk_unregister(b);
	if (b->fd >= 0)
		unlock_image(b);
	fd_close(&b->fd);
	b->file = -1;
}

/* ---- while it runs -------------------------------------------------------------------------------
 */

static void put_capacity(struct virtio_dev *dev, void *arg)
{
	le64_t w = le64_of(*(const uint64_t *)arg);

	memcpy(dev->cfg + offsetof(struct blk_cfg_wire, capacity), &w, sizeof(w));
}

static void set_size(struct blk *b, uint64_t size)
{
	b->sectors = size / BLK_SECTOR;
	virtio_cfg_update(&b->dev, put_capacity, &b->sectors);
}

int blk_attach(struct virtio_dev *dev, int given, bool readonly, struct err *e)
{
	struct blk *b = blk_of(dev);
	uint64_t size = 0;
	int rc;

	if (b->fd >= 0) {
		fd_close(&given);
		return err_set(e, -EBUSY, "disk %s: it has an image already", dev->name);
	}
	b->fd = b->file = given;
	b->readonly = readonly;
	rc = measure(b, dev->name, &size, e);
	if (rc == 0)
		rc = lock_image(b, dev->name, e);
	if (rc < 0) {
		fd_close(&b->fd);
		b->file = -1;
		return rc;
	}
	if (dev->running)
		blk_register(b);
	set_size(b, size);
	return 0;
}

static int grow_file(const struct blk *b, uint64_t bytes, struct err *e)
{
	struct stat st;
	int rc;

	if (fstat(b->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "disk %s: only a file can be made larger", b->dev.name);
	if (b->readonly)
		return err_set(e, -EROFS, "disk %s: it is read-only", b->dev.name);
	if (bytes % b->block)
		return err_set(e, -EINVAL, "disk %s: %llu bytes are not a multiple of %u",
			       b->dev.name, (unsigned long long)bytes, b->block);
	if (bytes < (uint64_t)st.st_size)
		return err_set(
		    e, -EINVAL, "disk %s: %llu bytes are fewer than the %llu that it has",
		    b->dev.name, (unsigned long long)bytes, (unsigned long long)st.st_size);
	if (ftruncate(b->fd, (off_t)bytes) < 0) {
		rc = -errno;
		return err_sys(e, rc, "disk %s: making the image larger", b->dev.name);
	}
	return 0;
}

int blk_resize(struct virtio_dev *dev, uint64_t bytes, struct err *e)
{
	struct blk *b = blk_of(dev);
	uint64_t size = 0;
	int rc = 0;

	if (b->fd < 0)
		return err_set(e, -ENOENT, "disk %s: it has no image", dev->name);
	if (bytes)
		rc = grow_file(b, bytes, e);
	if (rc == 0)
		rc = measure(b, dev->name, &size, e);
	if (rc == 0)
		set_size(b, size);
	return rc;
}

void blk_info(struct virtio_dev *dev, struct blk_info *ret)
{
	const struct blk *b = blk_of(dev);

	*ret = (struct blk_info){.spare = b->fd < 0,
				 .was_spare = b->was_spare,
				 .readonly = b->readonly,
				 .bytes = b->sectors * BLK_SECTOR};
}

/* ---- snapshots: the guest knows how large its disk is --------------------------------------------
 */

int blk_save(struct virtio_dev *dev, struct buf *to, struct err *e)
{
	le64_t w = le64_of(blk_of(dev)->sectors);

	(void)e;
	return buf_append(to, &w, sizeof(w));
}

int blk_load(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e)
{
	const struct blk *b = blk_of(dev);
	le64_t w;

	if (len != sizeof(w))
		return -EPROTO;
	memcpy(&w, p, sizeof(w));
	if (le64_get(w) == b->sectors)
		return 0;
	return err_set(e, -EINVAL, "disk %s: it has %llu sectors, and had %llu when it was saved",
		       dev->name, (unsigned long long)b->sectors, (unsigned long long)le64_get(w));
}

/* ---- making --------------------------------------------------------------------------------------
 */

static void fill_config(const struct blk *b, uint64_t features, unsigned queues,
			struct blk_cfg_wire *w)
{
	*w = (struct blk_cfg_wire){.seg_max = le32_of(BLK_SEG_MAX),
				   .capacity = le64_of(b->sectors),
				   .blk_size = le32_of(b->block),
				   .num_queues = le16_of((uint16_t)queues)};
	if (features & BLK_F_DISCARD) {
		w->max_discard_sectors = le32_of(BLK_RANGE_MAX);
		w->max_discard_seg = le32_of(1);
		w->discard_sector_alignment = le32_of(b->block / BLK_SECTOR);
	}
	if (features & BLK_F_WRITE_ZEROES) {
		w->max_write_zeroes_sectors = le32_of(BLK_RANGE_MAX);
		w->max_write_zeroes_seg = le32_of(1);
		w->write_zeroes_may_unmap = 1;
	}
}

static int blk_setup(struct blk *b, const char *name, const struct blk_config *cfg, struct err *e)
{
	uint64_t size = 0, features = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH;
	unsigned queues = MIN(MAX(cfg->queues, 1u), BLK_QUEUES_MAX);
	uint16_t num[BLK_QUEUES_MAX];
	struct blk_cfg_wire w;
	int rc = 0;

	if (cfg->serial && strlen(cfg->serial) > BLK_SERIAL_LEN)
		return err_set(e, -EINVAL, "disk %s: serial '%s' has more than %u bytes", name,
			       cfg->serial, BLK_SERIAL_LEN);
	if (cfg->serial)
		memcpy(b->serial, cfg->serial, strlen(cfg->serial)); /* padded with NUL, 5.2.6 */
	if (b->was_spare) {
		/* What the image can do is not known yet: it says so when it is asked. */
		features |= BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
	} else {
		rc = measure(b, name, &size, e);
		if (rc == 0)
			rc = lock_image(b, name, e);
		if (rc < 0)
			return rc;
		features |= range_features(b);
	}
	features |= (b->readonly ? BLK_F_RO : 0) | (queues > 1 ? BLK_F_MQ : 0);
	b->sectors = size / BLK_SECTOR;
	fill_config(b, features, queues, &w);
	for (unsigned i = 0; i < queues; i++)
		num[i] = QUEUE_NUM;
	rc = virtio_init(&b->dev, &blk_device_ops, name, features, queues, num, sizeof(w));
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
	b->fd = b->file = cfg->fd;
	b->was_spare = cfg->fd < 0;
	b->readonly = cfg->readonly && !b->was_spare;
	b->mem_align = 1;
	b->block = BLK_SECTOR;
	b->more.fn = blk_more;
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
