/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A UART: enough for Linux's 8250 driver to print, and to be typed at, with interrupts. Only
 * there when asked for.
 *
 * Transmission is instant: THRE and TEMT are always set. Reception goes through a FIFO of the size
 * of the real one, and begins when the guest has enabled the receiver's interrupt and the FIFO:
 * what comes earlier its driver throws away. Who feeds it is told when there is room again. Any
 * thread; a lock of its own. Callbacks run under it and must not come back here, except room(),
 * which runs without it.
 */
#ifndef HUSK_VMM_SERIAL_H
#define HUSK_VMM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/compiler.h"
#include "virtio/snap.h"

#define SERIAL_FIFO 16u

struct serial_ops {
	void (*output)(void *ctx, const void *buf, size_t len); /* vCPU thread */
	void (*irq)(void *ctx);					/* a rising edge; any thread */
	void (*room)(void *ctx); /* takes input again after a short count; vCPU thread; optional */
};

struct serial {
	pthread_mutex_t lock;
	const struct serial_ops *ops;
	void *ctx;
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	bool fifo_on;
	bool thre_pending; /* the transmitter-empty interrupt has not been acknowledged */
	bool line;	   /* the interrupt output */
	bool was_full;	   /* did not take all of an input */
	uint8_t rx[SERIAL_FIFO];
	unsigned rx_head, rx_cnt;
};

void serial_init(struct serial *s, const struct serial_ops *ops, void *ctx);
void serial_fini(struct serial *s);
/* Takes what fits into the receiver; returns how much. */
size_t serial_input(struct serial *s, const void *buf, size_t len);
/* Register window of 8 bytes; wider accesses than one byte touch the first register only. */
void serial_read(struct serial *s, uint64_t off, void *buf, unsigned len);
void serial_write(struct serial *s, uint64_t off, const void *buf, unsigned len);
/*
 * Its registers and what it has received as a record (virtio/snap.h), of a machine whose vCPUs stand
 * still; into a new one. Checks all it reads. 0 or -errno.
 */
int serial_save(struct serial *s, struct buf *to) MUST_CHECK;
int serial_load(struct serial *s, struct snap_rd *r) MUST_CHECK;

#endif
