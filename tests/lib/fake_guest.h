/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of virtio on plain memory, for unit tests, fuzzing and measurements.
 *
 * A fake guest owns some memory, a gmem map of it and one MMIO slot. It drives a device only through
 * what a guest has: the register window and the rings. Well-behaved calls come first (fg_start,
 * fg_add, fg_kick, fg_take), the raw ones for breaking rules after them. In order:
 *
 * - fg_new(1 << 20, 0), fg_plug(g, dev, loop); without a loop everything runs in the call
 * - fg_start(g, FG_ALL): reset to DRIVER_OK, with all queues set up
 * - a = fg_bytes(g, "hello", 5) and b = fg_alloc(g, 512, 1) are buffers
 * - fg_add(fg_q(g, 0), (struct fg_buf[]){{a, 5, false}, {b, 512, true}}, 2, 0), fg_kick(fg_q(g, 0))
 * - fg_take_wait(fg_q(g, 0), &written) returns the chain's head
 * - fg_shut(g, dev), fg_free(g)
 *
 * One thread. Failures of the fake guest itself (out of memory or of descriptors) abort.
 */
#ifndef HUSK_TESTS_LIB_FAKE_GUEST_H
#define HUSK_TESTS_LIB_FAKE_GUEST_H

#include "base/buf.h"
#include "virtio/mmio.h"
#include "virtio/virtio.h"

/* fg_new(): data memory is made of many small regions, none adjacent on the host to the next. */
#define FG_TINY_REGIONS 1u

#define FG_BASE		0x40000000ull /* where the guest's memory starts */
#define FG_ALL		UINT64_MAX    /* fg_start(): accept whatever is offered */

struct fg;

struct fg_queue {
	struct fg *g;
	unsigned idx;
	uint16_t num;
	uint64_t desc, avail, used; /* guest addresses */
	uint16_t avail_idx;	    /* what has been published */
	uint16_t kicked_idx;	    /* avail_idx at the last kick decision */
	uint16_t last_used;
	uint16_t free_cnt, free_head;
	uint16_t next[VQ_SIZE_MAX];  /* free list; for descriptors in use, the chain */
	uint16_t chain[VQ_SIZE_MAX]; /* per head: descriptors it uses */
	uint64_t kicks;		     /* notifications written */
};

struct fg_buf {
	uint64_t gpa;
	uint32_t len;
	bool write; /* for the device to write to */
};

/* ---- memory ---------------------------------------------------------------------------------- */

/* @len bytes of data memory beside the room for rings. */
struct fg *fg_new(size_t len, unsigned flags);
/* Frees the memory, not the device. NULL is fine. */
void fg_free(struct fg *g);
struct gmem *fg_mem(struct fg *g);
/*
 * The same guest once more, at other host addresses: a copy of its memory and of what its driver knows, with
 * an empty slot. For snapshots.
 */
struct fg *fg_copy(const struct fg *g);

/* Bump allocation of data memory; @align a power of two, 1 for odd places on purpose. */
uint64_t fg_alloc(struct fg *g, size_t len, size_t align);
/* All data memory is free again. */
void fg_alloc_reset(struct fg *g);
/* fg_alloc() and fg_put() in one. */
uint64_t fg_bytes(struct fg *g, const void *src, size_t len);
/* The guest's own loads and stores: bytewise and independent of gmem.c. Unmapped: aborts. */
void fg_put(struct fg *g, uint64_t gpa, const void *src, size_t len);
void fg_get(struct fg *g, uint64_t gpa, void *dst, size_t len);
/* Where a byte of guest memory is on the host; NULL when nowhere. */
uint8_t *fg_host(struct fg *g, uint64_t gpa);

/* ---- device ---------------------------------------------------------------------------------- */

void fg_plug(struct fg *g, struct virtio_dev *dev, struct loop *loop);
struct vmmio *fg_slot(struct fg *g);
uint32_t fg_reg(struct fg *g, unsigned reg);
void fg_set_reg(struct fg *g, unsigned reg, uint32_t v);
/*
 * The driver's whole start: reset, ACKNOWLEDGE, DRIVER, features (offer & @want), FEATURES_OK, all
 * queues at their maximum size, DRIVER_OK. 0, or -1 when FEATURES_OK did not stick.
 */
int fg_start(struct fg *g, uint64_t want);
/* Up to and without DRIVER_OK. */
int fg_negotiate(struct fg *g, uint64_t want);
/* Sets one queue up with @num entries (0: the maximum): fresh rings, QueueReady. */
struct fg_queue *fg_setup_queue(struct fg *g, unsigned idx, unsigned num);
/* Writes DRIVER_OK. */
void fg_go(struct fg *g);
void fg_reset(struct fg *g); /* status 0 */
struct fg_queue *fg_q(struct fg *g, unsigned idx);
unsigned fg_irqs(const struct fg *g); /* pulses so far */

/* ---- well-behaved ring use ------------------------------------------------------------------- */

#define FG_INDIRECT 1u /* put the chain in an indirect table */
/* Makes one chain available and returns its head. Takes effect at once; no kick. */
uint16_t fg_add(struct fg_queue *q, const struct fg_buf *buf, unsigned cnt, unsigned flags);
/* Notifies the device if it wants that (EVENT_IDX or the ring's flag). Returns whether it did. */
bool fg_kick(struct fg_queue *q);
/* Takes a used chain back: its head, or -1. @written may be NULL. */
int fg_take(struct fg_queue *q, uint32_t *written);
/* The same, running the loop until there is one; gives up with -1 after 10 seconds. */
int fg_take_wait(struct fg_queue *q, uint32_t *written);
/* The next interrupt is wanted when used.idx passes @event (EVENT_IDX). */
void fg_set_used_event(struct fg_queue *q, uint16_t event);
void fg_set_no_interrupt(struct fg_queue *q, bool on);
/* Runs the loop until @done(@arg) or 10 seconds; whether it was done. */
bool fg_run_until(struct fg *g, bool (*done)(void *arg), void *arg);
/* Shuts @dev down, whatever is on its way, and frees it. */
void fg_shut(struct fg *g, struct virtio_dev *dev);
/* Freezes @dev, which stays so, and returns its state; the caller's to free. */
struct buf fg_save(struct fg *g, struct virtio_dev *dev);

/* ---- breaking rules -------------------------------------------------------------------------- */

#define FG_D_NEXT     1u
#define FG_D_WRITE    2u
#define FG_D_INDIRECT 4u
/* Writes descriptor @i of the table at @table (a queue's desc, or an indirect one). */
void fg_desc(struct fg *g, uint64_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
	     unsigned next);
/* Puts @head in the next slot and raises the index. Nothing is checked. */
void fg_avail_raw(struct fg_queue *q, uint16_t head);
void fg_set_avail_idx(struct fg_queue *q, uint16_t idx);

/*
 * Watches the loads and stores that the process makes in [gpa, gpa+len) of ring memory: after each
 * instruction that touches it @after(@ctx, address, count of accesses to this very address) runs,
 * and may rewrite the memory with fg_put(), as another CPU of a hostile guest would. With it, a
 * value that is fetched twice is seen twice, and differently. x86-64 only (single-stepping); one
 * watch at a time; fg_watch_end() returns the greatest number of times that one address was
 * accessed.
 */
void fg_watch_begin(struct fg *g, uint64_t gpa, size_t len,
		    void (*after)(void *ctx, uint64_t gpa, unsigned count), void *ctx);
unsigned fg_watch_end(struct fg *g);

#endif
