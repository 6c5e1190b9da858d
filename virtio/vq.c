/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split virtqueue, device side (virtio 1.2, section 2.7). Loop thread only.
 *
 * Theory of operation
 *
 *      driver                         guest memory                        device (here)
 *   fills descriptors  ─────────▶  desc[num]                         fetched once, by value
 *   adds their head    ─────────▶  avail.ring[], avail.idx  ──acq──▶  vq_pop()   last_avail
 *   takes them back    ◀──acq────  used.idx, used.ring[]    ◀──rel──  vq_push()  used_idx
 *
 * The driver is hostile and has other CPUs that rewrite all of this while we look at it. Hence:
 *
 *  - Everything that is judged is loaded exactly once into a local (a descriptor: two 64-bit loads;
 *    an indirect table: one copy), and only the local is used from then on.
 *  - avail.idx may be at most num ahead of what we took; head < num; next < table length; at most
 *    as many steps as the table has entries, so that a chain that bites its tail ends; one level
 *    of indirection; nothing readable after something writable; the lengths of a chain sum up to
 *    UINT32_MAX at most, which is what the used ring can report; every byte is guest memory.
 *  - A head that is in flight must not be made available again (inflight[]): its request still owns
 *    the buffers.
 *  - Size and addresses are latched by vq_start(); the register file may change as it likes.
 *
 * Any violation fails the device (virtio_fail) and the queue yields nothing until the reset.
 *
 * Kicks: with EVENT_IDX the driver kicks when its index passes avail_event. That is armed (stored,
 * then the index looked at again) each time vq_pop() finds the ring empty, so no device can forget
 * it. Interrupts: vq_notify() decides once for everything pushed since its last call.
 *
 * Memory ordering is in this file and nowhere else; each barrier names its partner.
 */
#include "virtio/vq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "virtio/virtio.h"

/* virtio 1.2, 2.7.5: descriptor flags. */
enum {
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,
};
/* 2.7.6 and 2.7.8: ring flags. */
enum {
	AVAIL_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,
};

struct wire_desc {
	le64_t addr;
	le64_t meta; /* len: bits 0-31, flags: 32-47, next: 48-63; one word, so that one load gets
			it */
};
_Static_assert(sizeof(struct wire_desc) == 16, "virtio 1.2, 2.7.5");

/* Bytes of the rings of @num entries: flags, idx, ring[num], the other side's event index. */
#define AVAIL_BYTES(num) (6u + 2u * (num))
#define USED_BYTES(num)	 (6u + 8u * (num))

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* ---- ring words: all loads and stores of shared memory -----------------------------------------
 */

static inline uint16_t *word16(void *ring, size_t off)
{
	return (uint16_t *)(void *)((uint8_t *)ring + off);
}

static inline uint16_t load16(void *ring, size_t off)
{
	return le16toh(__atomic_load_n(word16(ring, off), __ATOMIC_RELAXED));
}

static inline void store16(void *ring, size_t off, uint16_t v)
{
	__atomic_store_n(word16(ring, off), htole16(v), __ATOMIC_RELAXED);
}

/* Pairs with the driver's write barrier between filling the ring entry and raising avail.idx. */
static inline uint16_t avail_idx(const struct vq *q)
{
	return le16toh(__atomic_load_n(word16(q->avail, 2), __ATOMIC_ACQUIRE));
}

static inline struct desc desc_decode(uint64_t addr, uint64_t meta)
{
	return (struct desc){.addr = addr,
			     .len = (uint32_t)meta,
			     .flags = (uint16_t)(meta >> 32),
			     .next = (uint16_t)(meta >> 48)};
}

static struct desc desc_load(const struct vq *q, unsigned i)
{
	uint64_t *w = (uint64_t *)q->desc + 2ul * i;

	return desc_decode(le64toh(__atomic_load_n(w, __ATOMIC_RELAXED)),
			   le64toh(__atomic_load_n(w + 1, __ATOMIC_RELAXED)));
}

/* ---- start and stop ----------------------------------------------------------------------------
 */

int vq_start(struct vq *q)
{
	const struct gmem *m = q->dev->mem;
	unsigned num = q->size;

	if (num == 0 || num > q->max || num > VQ_SIZE_MAX || (num & (num - 1)))
		return -EINVAL;
	q->desc = gmem_map(m, q->desc_gpa, 16ul * num, 16, false);
	q->avail = gmem_map(m, q->avail_gpa, AVAIL_BYTES(num), 2, false);
	q->used = gmem_map(m, q->used_gpa, USED_BYTES(num), 4, true);
	if (!q->desc || !q->avail || !q->used)
		return -EFAULT;
	q->inflight = calloc(num, 1);
	q->table = malloc(VQ_SIZE_MAX * sizeof(struct wire_desc));
	if (!q->inflight || !q->table) {
		vq_stop(q);
		return -ENOMEM;
	}
	q->num = (uint16_t)num;
	q->last_avail = q->used_idx = q->signalled = 0;
	q->signalled_valid = false;
	q->unsignalled = 0;
	q->kicks = true;
	q->kick_at = 1;
	q->most = 0;
	q->event_idx = virtio_has(q->dev, VIRTIO_F_EVENT_IDX);
	q->live = true;
	return 0;
}

void vq_stop(struct vq *q)
{
	q->live = false;
	q->num = 0;
	q->desc = q->avail = q->used = NULL;
	free(q->inflight);
	q->inflight = NULL;
	free(q->table);
	q->table = NULL;
}

/* ---- taking ------------------------------------------------------------------------------------
 */

/* The driver may touch the device, and we its rings. */
static inline bool usable(const struct vq *q)
{
	return q->live && !q->dev->broken && !q->dev->stopping;
}

/* One buffer into the chain. 0 or -errno with the device failed. */
static int add_span(struct vq *q, struct vq_chain *c, const struct desc *d)
{
	bool in = (d->flags & DESC_WRITE) != 0;
	/* Out spans never merge with in spans: each kind is appended to an array of its own. */
	unsigned skip = in ? c->out_cnt : 0;
	unsigned *cnt = in ? &c->in_cnt : &c->out_cnt;
	int rc;

	if (!in && c->in_cnt) {
		virtio_fail(q->dev, "queue %u: readable buffer after a writable one", q->idx);
		return -EINVAL;
	}
	if (d->len > UINT32_MAX - (c->out_len + c->in_len)) {
		virtio_fail(q->dev, "queue %u: chain of more than 4 GiB", q->idx);
		return -EINVAL;
	}
	rc = gmem_iov(q->dev->mem, d->addr, d->len, in, c->iov + skip, c->cap - skip, cnt);
	if (rc < 0) {
		if (rc == -E2BIG)
			virtio_fail(q->dev, "queue %u: chain in more than %u pieces", q->idx,
				    c->cap);
		else
			virtio_fail(q->dev, "queue %u: buffer %#llx+%#x is not in guest memory",
				    q->idx, (unsigned long long)d->addr, d->len);
		return rc;
	}
	if (in)
		c->in_len += d->len;
	else
		c->out_len += d->len;
	return 0;
}

/* Walks the table that the indirect descriptor @t points to. */
static int walk_indirect(struct vq *q, struct vq_chain *c, const struct desc *t)
{
	struct wire_desc *tab = q->table;
	unsigned cnt = t->len / sizeof(*tab), i = 0;

	if (!virtio_has(q->dev, VIRTIO_F_INDIRECT_DESC) || (t->flags & DESC_NEXT)) {
		virtio_fail(q->dev, "queue %u: indirect table where none is allowed", q->idx);
		return -EINVAL;
	}
	/*
	 * The specification limits a chain to the queue size. Linux does not care (virtio_console
	 * splices as many pages as a pipe has), and a table is bounded by itself: so any table up
	 * to our own limit.
	 */
	if (t->len == 0 || t->len % sizeof(*tab) || cnt > VQ_SIZE_MAX) {
		virtio_fail(q->dev, "queue %u: indirect table of %u bytes", q->idx, t->len);
		return -EINVAL;
	}
	if (gmem_read(q->dev->mem, t->addr, tab, t->len) < 0) {
		virtio_fail(q->dev, "queue %u: indirect table is not in guest memory", q->idx);
		return -EFAULT;
	}
	for (unsigned steps = 0; steps < cnt; steps++) {
		struct desc d = desc_decode(le64_get(tab[i].addr), le64_get(tab[i].meta));
		int rc;

		if (d.flags & DESC_INDIRECT) {
			virtio_fail(q->dev, "queue %u: indirect table in an indirect table",
				    q->idx);
			return -EINVAL;
		}
		rc = add_span(q, c, &d);
		if (rc < 0)
			return rc;
		if (!(d.flags & DESC_NEXT))
			return 0;
		if (d.next >= cnt) {
			virtio_fail(q->dev, "queue %u: next %u in a table of %u", q->idx, d.next,
				    cnt);
			return -EINVAL;
		}
		i = d.next;
	}
	virtio_fail(q->dev, "queue %u: loop in an indirect table", q->idx);
	return -EINVAL;
}

static int walk(struct vq *q, struct vq_chain *c)
{
	unsigned i = c->head;

	for (unsigned steps = 0; steps < q->num; steps++) {
		struct desc d = desc_load(q, i);
		int rc;

		/* 2.7.5.3.2: plain descriptors may come before the indirect one, which is the last.
		 */
		if (d.flags & DESC_INDIRECT)
			return walk_indirect(q, c, &d);
		rc = add_span(q, c, &d);
		if (rc < 0)
			return rc;
		if (!(d.flags & DESC_NEXT))
			return 0;
		if (d.next >= q->num) {
			virtio_fail(q->dev, "queue %u: next %u of %u", q->idx, d.next, q->num);
			return -EINVAL;
		}
		i = d.next;
	}
	virtio_fail(q->dev, "queue %u: loop in a descriptor chain", q->idx);
	return -EINVAL;
}

/* Asks for a kick when there are kick_at chains. Returns true when they are there already. */
static bool arm(struct vq *q)
{
	if (q->event_idx)
		store16(q->used, 4 + 8ul * q->num,
			(uint16_t)(q->last_avail + q->kick_at - 1)); /* avail_event */
	else
		store16(q->used, 0, 0);
	/* Pairs with the driver's full barrier between raising avail.idx and reading avail_event.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return (uint16_t)(avail_idx(q) - q->last_avail) >= q->kick_at;
}

int vq_pop(struct vq *q, struct vq_chain *c)
{
	uint16_t ahead, head;
	int rc;

	if (!usable(q) || q->dev->frozen)
		return 0;
	ahead = (uint16_t)(avail_idx(q) - q->last_avail);
	if (ahead == 0) {
		if (!q->kicks || !arm(q))
			return 0;
		ahead = (uint16_t)(avail_idx(q) - q->last_avail);
		if (ahead == 0) /* it took the buffer back, which it may not, and harms nobody */
			return 0;
	}
	if (ahead > q->num) {
		virtio_fail(q->dev, "queue %u: available index is %u ahead in a ring of %u", q->idx,
			    ahead, q->num);
		return -EINVAL;
	}
	q->most = MAX(q->most, ahead);
	head = load16(q->avail, 4 + 2ul * (q->last_avail & (q->num - 1u)));
	if (head >= q->num) {
		virtio_fail(q->dev, "queue %u: head %u of %u", q->idx, head, q->num);
		return -EINVAL;
	}
	if (q->inflight[head]) {
		virtio_fail(q->dev, "queue %u: head %u is in flight already", q->idx, head);
		return -EINVAL;
	}
	c->head = head;
	c->out_cnt = c->in_cnt = 0;
	c->out_len = c->in_len = 0;
	rc = walk(q, c);
	if (rc < 0)
		return rc;
	q->inflight[head] = 1;
	q->last_avail++;
	q->chains++;
	q->out_bytes += c->out_len;
	return 1;
}

bool vq_pending(const struct vq *q)
{
	return usable(q) && !q->dev->frozen && avail_idx(q) != q->last_avail;
}

static bool kicks_on(struct vq *q, uint16_t at)
{
	q->kicks = true;
	q->kick_at = at;
	return usable(q) && !q->dev->frozen && arm(q);
}

bool vq_kicks_on(struct vq *q)
{
	return kicks_on(q, 1);
}

bool vq_kicks_on_half(struct vq *q)
{
	return kicks_on(q, q->most > 1 ? q->most / 2 : 1);
}

void vq_kicks_off(struct vq *q)
{
	q->kicks = false;
	/* With EVENT_IDX an event index left behind does the same. */
	if (usable(q) && !q->event_idx)
		store16(q->used, 0, USED_NO_NOTIFY);
}

/* ---- giving back -------------------------------------------------------------------------------
 */

void vq_push(struct vq *q, uint16_t head, uint32_t written)
{
	uint32_t *elem;

	BUG_ON(!q->live || head >= q->num || !q->inflight[head]);
	q->inflight[head] = 0;
	if (!usable(q))
		return;
	elem = (uint32_t *)(void *)((uint8_t *)q->used + 4 + 8ul * (q->used_idx & (q->num - 1u)));
	__atomic_store_n(elem, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(elem + 1, htole32(written), __ATOMIC_RELAXED);
	q->used_idx++;
	q->unsignalled++;
	q->in_bytes += written;
	/* Pairs with the driver's read barrier between reading used.idx and the entry. */
	__atomic_store_n(word16(q->used, 2), htole16(q->used_idx), __ATOMIC_RELEASE);
}

void vq_unpop(struct vq *q, const struct vq_chain *c)
{
	BUG_ON(!q->live || !q->dev->frozen || c->head >= q->num || !q->inflight[c->head]);
	q->inflight[c->head] = 0;
	q->last_avail--;
	q->chains--;
	q->out_bytes -= c->out_len;
}

void vq_notify(struct vq *q)
{
	uint16_t last = q->signalled;
	uint32_t pushed = q->unsignalled;
	bool want;

	if (!usable(q) || !pushed)
		return;
	/* Pairs with the driver's full barrier between writing used_event and reading used.idx. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->event_idx) {
		uint16_t event = load16(q->avail, 4 + 2ul * q->num); /* used_event */

		want = !q->signalled_valid || pushed > UINT16_MAX ||
		       (uint16_t)(q->used_idx - event - 1u) < (uint16_t)(q->used_idx - last);
	} else {
		want = !(load16(q->avail, 0) & AVAIL_NO_INTERRUPT);
	}
	q->signalled = q->used_idx;
	q->signalled_valid = true;
	q->unsignalled = 0;
	if (!want)
		return;
	q->interrupts++;
	virtio_irq(q->dev, VIRTIO_IRQ_VQ);
}
