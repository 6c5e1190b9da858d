/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between mmio.c and mmio_page.c: the registers of a slot.
 */
#ifndef HUSK_VIRTIO_MMIO_PRIV_H
#define HUSK_VIRTIO_MMIO_PRIV_H

#include "virtio/mmio.h"

/* virtio 1.2, table 4.1. */
enum {
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEV_FEATURES = 0x010,
	REG_DEV_FEATURES_SEL = 0x014,
	REG_DRV_FEATURES = 0x020,
	REG_DRV_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = VMMIO_NOTIFY,
	REG_ISR = 0x060,
	REG_ISR_ACK = VMMIO_ACK,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC_LO = 0x080,
	REG_QUEUE_DESC_HI = 0x084,
	REG_QUEUE_DRIVER_LO = 0x090,
	REG_QUEUE_DRIVER_HI = 0x094,
	REG_QUEUE_DEVICE_LO = 0x0a0,
	REG_QUEUE_DEVICE_HI = 0x0a4,
	REG_SHM_SEL = 0x0ac,
	REG_SHM_LEN_LO = 0x0b0,
	REG_SHM_LEN_HI = 0x0b4,
	REG_SHM_BASE_LO = 0x0b8,
	REG_SHM_BASE_HI = 0x0bc,
	REG_CONFIG_GEN = 0x0fc,
	CONFIG_OFF = 0x100,
};

#define MMIO_MAGIC   0x74726976u /* "virt" */
#define MMIO_VERSION 2u
#define MMIO_VENDOR  0x4b535548u /* "HUSK" */

/* What the driver reads there. @dev NULL: of an empty slot. Under dev->lock. */
uint32_t vmmio_reg(const struct vmmio *s, const struct virtio_dev *dev, unsigned reg);

/* mmio_page.c; the slot has a page. show() under dev->lock; empty() with nobody else at the page. */
void vmmio_page_show(struct vmmio *s, struct virtio_dev *dev, unsigned what);
void vmmio_page_empty(struct vmmio *s);

#endif
