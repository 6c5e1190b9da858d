/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of virtio-blk, shared by blk.c (requests) and blk_image.c (the image behind them).
 */
#ifndef HUSK_VIRTIO_BLK_PRIV_H
#define HUSK_VIRTIO_BLK_PRIV_H

#include "base/endian.h"
#include "base/list.h"
#include "virtio/devices.h"

#define BLK_SECTOR     512u
#define BLK_SERIAL_LEN 20u
#define BLK_SEG_MAX    126u	  /* spans of data in one request */
#define BLK_RANGE_MAX  (1u << 22) /* sectors of one discard or zeroing: 2 GiB */

/* virtio 1.2, 5.2.3 */
#define BLK_F_SEG_MAX	   (1ull << 2)
#define BLK_F_RO	   (1ull << 5)
#define BLK_F_BLK_SIZE	   (1ull << 6)
#define BLK_F_FLUSH	   (1ull << 9)
#define BLK_F_MQ	   (1ull << 12)
#define BLK_F_DISCARD	   (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

struct blk_cfg_wire {
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
_Static_assert(sizeof(struct blk_cfg_wire) == 60, "virtio 1.2, 5.2.4");

struct blk_req;

struct blk {
	struct virtio_dev dev; /* first */
	int fd;		       /* -1: a spare without an image */
	int file;	       /* what the ring is given for it: a registered file, or fd */
	bool readonly, was_spare, draining;
	unsigned mem_align; /* of buffers with O_DIRECT; 1 = any */
	unsigned block;	    /* bytes; the capacity is a multiple of it */
	uint64_t sectors;
	char serial[BLK_SERIAL_LEN];
	struct list running;
	struct blk_req *spare;
	unsigned spare_cnt;
	struct loop_work more; /* the kick went on for too long */
	uint64_t errors, bounced;
};

static inline struct blk *blk_of(struct virtio_dev *dev)
{
	return container_of(dev, struct blk, dev);
}

extern const struct virtio_ops blk_device_ops;
void blk_more(struct loop_work *w);

int blk_save(struct virtio_dev *dev, struct buf *to, struct err *e) MUST_CHECK;
int blk_load(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e) MUST_CHECK;
/* blk_image.c: gives the ring the image, takes it away again. Loop thread. */
void blk_register(struct blk *b);
void blk_unregister(struct blk *b);
void blk_close(struct blk *b); /* with no request running: unlocks the image too */

#endif
