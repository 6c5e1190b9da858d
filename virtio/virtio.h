/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio device model: what a device is, what the core does for it, what a transport does.
 *
 *   transport (mmio.c: register file) -> core (status machine, features, config bytes) -> device
 *
 * Threads: vCPU threads come in through the transport and touch the register file under dev->lock;
 * they never touch rings or buffers. Everything with consequences (DRIVER_OK, reset) is handed to the
 * loop, and the vCPU waits there (loop_call). All virtio_ops run on the loop thread. With dev->loop
 * NULL (unit tests) they run directly.
 *
 * A guest's mistake fails the device (virtio_fail) and nothing else. Devices receive open fds.
 */
#ifndef HUSK_VIRTIO_VIRTIO_H
#define HUSK_VIRTIO_VIRTIO_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "virtio/gmem.h"
#include "virtio/vq.h"

/* virtio 1.2, section 5: device types. */
enum virtio_id {
	VIRTIO_ID_NONE = 0, /* a slot without a device */
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_9P = 9,
	VIRTIO_ID_MEM = 24,
	VIRTIO_ID_PMEM = 27,
};

/* virtio 1.2, 2.1: device status bits. */
enum {
	VIRTIO_S_ACKNOWLEDGE = 1,
	VIRTIO_S_DRIVER = 2,
	VIRTIO_S_DRIVER_OK = 4,
	VIRTIO_S_FEATURES_OK = 8,
	VIRTIO_S_NEEDS_RESET = 64,
	VIRTIO_S_FAILED = 128,
};

/* virtio 1.2, section 6: reserved feature bits. The core offers these for every device. */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)
#define VIRTIO_F_VERSION_1     (1ull << 32)

/* Interrupt causes (virtio 1.2, 4.2.2.1). */
#define VIRTIO_IRQ_VQ	  1u
#define VIRTIO_IRQ_CONFIG 2u

#define VIRTIO_QUEUES_MAX 66u /* console: 2 + 2 * 32 ports */

struct virtio_dev;

struct virtio_ops {
	const char *name; /* "blk": prefix of logs and counters */
	uint32_t id;	  /* enum virtio_id */
	/* Queues mapped, features negotiated, the driver is live. 0, or -errno to fail the device. */
	int (*start)(struct virtio_dev *dev);
	/* Work may be waiting in the queue. Must tolerate spurious calls. */
	void (*kick)(struct virtio_dev *dev, struct vq *q);
	/*
	 * The driver resets or the machine ends: take no new work, cancel what runs, and call
	 * virtio_stopped() once no request uses guest memory any more (at once is fine). Queues are dead
	 * afterwards; nothing is pushed for a reset.
	 */
	void (*stop)(struct virtio_dev *dev);
	/* The driver wrote config bytes [off, off+len) (inside cfg_rw). Optional. */
	void (*cfg_write)(struct virtio_dev *dev, size_t off, size_t len);
	/*
	 * Snapshots (snap.c). freeze(): begin nothing more, finish what runs, put back what was only
	 * taken in advance, then virtio_quiet() (at once is fine); NULL: nothing is ever held. save()
	 * and load(): the state that is neither registers nor rings, as the payload of a record of
	 * save_version; load() comes after start() if the device ran. All optional.
	 */
	void (*freeze)(struct virtio_dev *dev);
	uint16_t save_version;
	int (*save)(struct virtio_dev *dev, struct buf *to, struct err *e);
	int (*load)(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e);
	/* Tells the device's own counters. Optional. */
	void (*counters)(struct virtio_dev *dev,
			 void (*tell)(void *ctx, const char *name, uint64_t v), void *ctx);
	void (*free)(struct virtio_dev *dev); /* stopped before; frees the memory that @dev is in */
};

/* What a driver reads and has changed, for virtio_transport_ops.show. */
#define VIRTIO_SHOW_ISR	   1u
#define VIRTIO_SHOW_REGS   2u /* status, and what follows the selectors */
#define VIRTIO_SHOW_CONFIG 4u /* bytes of the config space, one field of it */
#define VIRTIO_SHOW_UPDATE 8u /* all of the config space and its generation, which change as one */
#define VIRTIO_SHOW_ALL	   15u

struct virtio_transport_ops {
	/* Raises the interrupt for @cause (VIRTIO_IRQ_*). Any thread. */
	void (*irq)(void *ctx, uint32_t cause);
	/* Before a cause is set: what the driver has acknowledged so far takes effect. Any thread. Optional. */
	void (*flush)(void *ctx);
	/*
	 * For a transport where drivers read without asking: @what (VIRTIO_SHOW_*) has changed. Under dev->lock,
	 * any thread. Optional.
	 */
	void (*show)(void *ctx, struct virtio_dev *dev, unsigned what);
};

/* Embedded first in each device's own structure. */
struct virtio_dev {
	const struct virtio_ops *ops;
	char name[16]; /* "blk0" */

	/* Set by the device's constructor through virtio_init(). */
	uint64_t features; /* offered: the device's bits; the core adds its own */
	unsigned queue_cnt;
	struct vq *vq; /* queue_cnt of them */
	uint8_t *cfg;  /* config space, little-endian as the driver sees it */
	size_t cfg_len;
	size_t cfg_rw_off, cfg_rw_len; /* what the driver may write */

	/* Set when it is put on a transport: virtio_attach(). */
	const struct gmem *mem;
	struct loop *loop;
	const struct virtio_transport_ops *tr;
	void *tr_ctx;

	/* Register file: under lock. */
	pthread_mutex_t lock;
	uint8_t status;
	uint64_t acked;	  /* features that the driver accepted; frozen by FEATURES_OK */
	bool acked_alien; /* it accepted bits beyond 63 */
	uint32_t cfg_gen;
	bool resetting; /* the driver's reset waits for the drain */
	pthread_cond_t reset_cond;
	uint32_t isr; /* pending causes */

	/* Loop thread. */
	bool running; /* between start and stopped */
	bool stopping;
	bool broken;		      /* failed; queues yield nothing until the reset */
	bool shut;		      /* virtio_shutdown(): never starts again */
	bool frozen;		      /* takes no chain: virtio_freeze() */
	void (*frozen_fn)(void *arg); /* waits for virtio_quiet() */
	void *frozen_arg;
	void (*stopped_fn)(void *arg);
	void *stopped_arg;

	struct log_limit log; /* of guest faults */
	uint64_t faults;
};

/*
 * For constructors. @queue_max has @queues entries. The config space is @cfg_len zeroed bytes to be
 * filled through dev->cfg before the device is attached. 0 or -ENOMEM.
 */
int virtio_init(struct virtio_dev *dev, const struct virtio_ops *ops, const char *name,
		uint64_t features, unsigned queues, const uint16_t *queue_max,
		size_t cfg_len) MUST_CHECK;
/* For ops->free: releases what virtio_init() made (not @dev itself). */
void virtio_fini(struct virtio_dev *dev);

/* Puts a device on a transport, before the driver can see it. */
void virtio_attach(struct virtio_dev *dev, const struct gmem *mem, struct loop *loop,
		   const struct virtio_transport_ops *tr, void *tr_ctx);

/* The guest broke a rule: NEEDS_RESET, a rate-limited line, a counter. Loop thread. */
void virtio_fail(struct virtio_dev *dev, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Devices: the drain that ops->stop began is over. Loop thread. */
void virtio_stopped(struct virtio_dev *dev);
/* Config space changed (cfg bytes updated by @fn under the lock): generation + interrupt. */
void virtio_cfg_update(struct virtio_dev *dev, void (*fn)(struct virtio_dev *dev, void *arg),
		       void *arg);
/* The same when the driver knows, because it asked for it: neither generation nor interrupt. */
void virtio_cfg_quiet_update(struct virtio_dev *dev, void (*fn)(struct virtio_dev *dev, void *arg),
			     void *arg);
bool virtio_has(const struct virtio_dev *dev, uint64_t feature); /* negotiated? */

/* The queue notification reached the loop (ioeventfd, or a register write handed over). */
void virtio_kick(struct virtio_dev *dev, unsigned queue);

/*
 * Ends the device for good: stops it if it runs; @fn(arg) when drained (may be before return).
 * Loop thread. The loop has to keep running until the vCPU threads have ended: one of them may wait
 * in a status write.
 */
void virtio_shutdown(struct virtio_dev *dev, void (*fn)(void *arg), void *arg);
void virtio_free(struct virtio_dev *dev); /* shut down before; NULL is fine */

/* ---- snapshots; loop thread, vCPUs stopped ------------------------------------------------------- */
struct snap_rd;
/* No chain is taken any more; @done(@arg) when none is held (may be before return). */
void virtio_freeze(struct virtio_dev *dev, void (*done)(void *arg), void *arg);
/* Devices: nothing is under way. May be said at any time. */
void virtio_quiet(struct virtio_dev *dev);
/* Goes on after virtio_freeze() or virtio_load(). */
void virtio_thaw(struct virtio_dev *dev);
/*
 * Appends the state of a frozen device. -EBUSY and the like when something would be lost, with a sentence
 * that names it.
 */
int virtio_save(struct virtio_dev *dev, struct buf *to, struct err *e) MUST_CHECK;
/*
 * Into a new device of the same kind that is attached and has not run, on the guest memory that was saved
 * with it. It stays frozen. On failure it can only be freed.
 */
int virtio_load(struct virtio_dev *dev, struct snap_rd *r, struct err *e) MUST_CHECK;

/* ---- register file, for transports; vCPU thread ------------------------------------------------ */
uint64_t virtio_offered(const struct virtio_dev *dev);
/* Sets the pending @cause and raises the interrupt. Any thread. */
void virtio_irq(struct virtio_dev *dev, uint32_t cause);
/* The driver has seen these causes. */
void virtio_ack(struct virtio_dev *dev, uint32_t causes);
void virtio_set_features(struct virtio_dev *dev, unsigned word, uint32_t bits);
uint8_t virtio_status(struct virtio_dev *dev);
/* The status write of the driver; DRIVER_OK starts and 0 resets, and both wait for the loop. */
void virtio_set_status(struct virtio_dev *dev, uint8_t status);
void virtio_cfg_read(struct virtio_dev *dev, uint64_t off, void *buf, size_t len);
void virtio_cfg_store(struct virtio_dev *dev, uint64_t off, const void *buf, size_t len);

#endif
