/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device side of a split virtqueue (virtio 1.2, section 2.7), with EVENT_IDX and INDIRECT_DESC.
 *
 * A device sees validated descriptor chains as two vectors of host spans; it never sees a descriptor.
 * Loop thread only. Everything popped is pushed exactly once. Ring addresses and size are latched when
 * the driver sets DRIVER_OK. A ring that breaks the rules fails the device (virtio_fail: NEEDS_RESET)
 * and yields nothing any more until the driver resets it.
 */
#ifndef HUSK_VIRTIO_VQ_H
#define HUSK_VIRTIO_VQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/compiler.h"
#include "virtio/gmem.h"

struct virtio_dev;

#define VQ_SIZE_MAX 1024u /* ours; the specification allows 32768 */

struct vq {
	struct virtio_dev *dev;
	unsigned idx; /* which of the device's queues */

	/* As the driver writes them, under the device's register lock; latched by vq_start(). */
	uint16_t max; /* offered */
	uint16_t size;
	bool ready;
	uint64_t desc_gpa, avail_gpa, used_gpa;

	/* Loop thread, valid between vq_start() and vq_stop(). */
	bool live;
	uint16_t num; /* latched size */
	void *desc, *avail, *used;
	uint16_t last_avail; /* next entry to take */
	uint16_t used_idx;   /* next entry to fill */
	uint16_t signalled;  /* used_idx at the last interrupt decision */
	bool signalled_valid;
	bool event_idx;
	bool kicks;	  /* the driver is to kick: armed again whenever the ring is found empty */
	uint16_t kick_at; /* how many chains have to be there for a kick */
	uint16_t most;	  /* chains that have been there at once since the start */
	uint32_t unsignalled; /* pushed since the last interrupt decision */
	void *table;	      /* the private copy of an indirect table */
	uint8_t *
	    inflight; /* per head: popped and not yet pushed; a head made available twice is a fault */

	uint64_t kick_cnt, chains, interrupts; /* counters */
	uint64_t out_bytes, in_bytes;	       /* of the driver's data; written by us */
};

struct vq_chain {
	uint16_t head;
	struct iovec *iov; /* the owner's array: out spans first, then in spans */
	unsigned cap;
	unsigned out_cnt, in_cnt; /* spans: the driver's for us to read; for us to write */
	size_t out_len, in_len;	  /* bytes */
};

static inline const struct iovec *vq_out(const struct vq_chain *c)
{
	return c->iov;
}
static inline const struct iovec *vq_in(const struct vq_chain *c)
{
	return c->iov + c->out_cnt;
}

/*
 * Takes the next chain into @c, whose iov and cap the caller has set (cap < number of spans fails the
 * device). 1 = got one, 0 = nothing there, -errno = the device has been failed. A chain has at most
 * VQ_SIZE_MAX descriptors (a direct one at most the queue's size), each of which is one span per
 * region of guest memory that it touches: cap = VQ_SIZE_MAX + GMEM_REGIONS_MAX always suffices.
 */
int vq_pop(struct vq *q, struct vq_chain *c) MUST_CHECK;
/* Anything to take? (Also false on a dead queue.) */
bool vq_pending(const struct vq *q);
/*
 * Gives @head back with @written bytes written from the start of its in spans. While the device stops
 * or has failed nothing is written to the guest any more: devices complete requests as always.
 */
void vq_push(struct vq *q, uint16_t head, uint32_t written);
/*
 * Puts a chain back that was taken last of all in its queue, as if it had never been taken. Only while the
 * device is being frozen.
 */
void vq_unpop(struct vq *q, const struct vq_chain *c);
/* Interrupts the driver if it wants to know about what was pushed since the last call. */
void vq_notify(struct vq *q);
/*
 * Kick suppression. Kicks are on after the start, and vq_pop() that finds the ring empty has armed the
 * next kick before it says so: a device that pops until 0 needs neither function. vq_kicks_off() is a
 * hint for devices that poll or wait for something else first; vq_kicks_on() ends that and returns
 * true when something came in between, which the caller must then take.
 */
bool vq_kicks_on(struct vq *q);
/*
 * The same, but the kick is for half of what the driver has had there at once, and true means that so
 * much is there now. For a driver that gives each buffer back once it has been used, whoever waits for
 * it: with another the kick might not come. A hint without EVENT_IDX.
 */
bool vq_kicks_on_half(struct vq *q);
void vq_kicks_off(struct vq *q);

/* For the core: map the rings (0 or -errno: bad size, alignment, address), forget them. */
int vq_start(struct vq *q) MUST_CHECK;
void vq_stop(struct vq *q);

#endif
