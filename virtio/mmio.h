/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over MMIO (virtio 1.2, section 4.2), version 2 only. One slot is one 512-byte register window
 * and one interrupt. An empty slot reads DeviceID 0, which tells a driver to leave it alone; it may
 * get its device later (vmmio_plug) while the guest runs.
 */
#ifndef HUSK_VIRTIO_MMIO_H
#define HUSK_VIRTIO_MMIO_H

#include <stdint.h>
#include "virtio/virtio.h"

#define VMMIO_WINDOW 0x200u /* bytes of registers: 0x100 and config space after it */
#define VMMIO_NOTIFY 0x50u  /* QueueNotify: where ioeventfds go */
#define VMMIO_ACK    0x64u  /* InterruptACK: may be written late, see vmmio_ops.flush */
#define VMMIO_PAGE   4096u

struct vmmio_ops {
	/* Pulse the slot's interrupt line (edge-triggered). Any thread. */
	void (*irq)(void *ctx, unsigned slot);
	/*
	 * Hands to vmmio_write() what has been written to InterruptACK and was kept back, in full: called before
	 * a cause is set. Any thread. Optional.
	 */
	void (*flush)(void *ctx);
};

struct vmmio {
	unsigned slot;
	struct virtio_dev *dev; /* NULL: empty. Set with release order by vmmio_plug(). */
	unsigned users;		/* vCPUs within a register access; atomic */
	const struct vmmio_ops *ops;
	void *ops_ctx;

	/* The driver's selectors, under dev->lock. */
	uint32_t dev_feat_sel, drv_feat_sel, queue_sel, shm_sel;
	uint8_t *page; /* what the guest reads, or NULL; vmmio_show_in() */
};

void vmmio_init(struct vmmio *s, unsigned slot, const struct vmmio_ops *ops, void *ops_ctx);
/* Loop thread (or before the guest runs). The slot must be empty; attaches the device to it. */
void vmmio_plug(struct vmmio *s, struct virtio_dev *dev, const struct gmem *mem, struct loop *loop);
/*
 * From now on @page, VMMIO_PAGE bytes at a page's bound of a private anonymous mapping, zeroed, always has what the
 * registers read: a guest that has it mapped where they are, readable only, needs no exit to read them. Before the
 * guest runs; stays the caller's, to unmap when no vCPU and no device is there any more.
 */
void vmmio_show_in(struct vmmio *s, uint8_t *page);
/*
 * Loop thread: the slot is empty from here on. vCPUs that are within a register of the device keep
 * using it until vmmio_is_quiet(), which the guest can put off, but not make never come true by
 * standing still: the device is to be freed after that.
 */
void vmmio_unplug(struct vmmio *s);
bool vmmio_is_quiet(const struct vmmio *s);
/*
 * Register access of a vCPU: @len 1, 2, 4 or 8 bytes at @off < VMMIO_WINDOW. Anything malformed reads
 * as zeros and is otherwise ignored. A QueueNotify write that no ioeventfd caught is handed to the
 * loop, and the vCPU waits for it: correct without ioeventfds, fast with them.
 */
void vmmio_read(struct vmmio *s, uint64_t off, void *buf, unsigned len);
void vmmio_write(struct vmmio *s, uint64_t off, const void *buf, unsigned len);
/*
 * The slot's own registers, and its device's as virtio_save() and virtio_load() have them, under the same
 * conditions. The slot has a device.
 */
int vmmio_save(struct vmmio *s, struct buf *to, struct err *e) MUST_CHECK;
int vmmio_load(struct vmmio *s, struct snap_rd *r, struct err *e) MUST_CHECK;

#endif
