/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-balloon (virtio 1.2, section 5.5). Loop thread, but for the config bytes that the driver
 * writes by itself.
 *
 *   inflate    lists of page numbers: those pages go back to the host
 *   deflate    lists of page numbers that the guest takes again: they fault in by themselves
 *   stats      one buffer that the driver leaves here; it is returned to ask for newer figures
 *   reporting  free memory, as buffers: goes back to the host, then the guest may use it again
 *
 * Everything that is not the guest's own RAM is refused (gmem_discard), a list has a largest size, and
 * after some chains other devices get their turn. Adjacent pages are given back together, since each
 * madvise(2) is a system call and a walk.
 *
 * Queues are numbered as Linux and other devices do it: a queue whose feature was not negotiated does
 * not count, so reporting comes right after stats. Free page hints are not offered.
 */
#include "virtio/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/endian.h"

#define QUEUE_NUM	 128u
#define QUEUES		 4u
#define INFLATE_Q	 0u
#define DEFLATE_Q	 1u
#define FIRST_OPTIONAL_Q 2u
#define PAGE		 4096u
#define PFNS_MAX	 1024u /* in one list; Linux sends 256 */
#define STATS_MAX	 32u   /* entries looked at; there are 10 kinds */
#define SPANS		 (VQ_SIZE_MAX + GMEM_REGIONS_MAX)
#define BUDGET		 32u /* chains of one kick */

/* 5.5.3 */
#define F_STATS_VQ	 (1ull << 1)
#define F_DEFLATE_ON_OOM (1ull << 2)
#define F_PAGE_POISON	 (1ull << 4)
#define F_REPORTING	 (1ull << 5)

struct cfg_wire {
	le32_t num_pages, actual, free_page_hint_cmd_id, poison_val;
};
_Static_assert(sizeof(struct cfg_wire) == 16, "virtio 1.2, 5.5.4");

struct stat_wire {
	le16_t tag;
	le64_t val;
} __attribute__((packed));
_Static_assert(sizeof(struct stat_wire) == 10, "virtio 1.2, 5.5.6.3");

struct balloon {
	struct virtio_dev dev; /* first */
	struct balloon_config cfg;
	unsigned stats_q, report_q; /* as negotiated; 0 = not there */
	bool draining;
	struct loop_work more; /* a kick went on for too long */
	bool stats_held;
	uint16_t stats_head;
	struct balloon_stats stats;
	struct iovec iov[SPANS];
	le32_t wire[PFNS_MAX];
	uint32_t pfn[PFNS_MAX];
};

static struct balloon *balloon_of(struct virtio_dev *dev)
{
	return container_of(dev, struct balloon, dev);
}

static void changed(struct balloon *b)
{
	if (b->cfg.changed)
		b->cfg.changed(b->cfg.ctx);
}

/* ---- pages ---------------------------------------------------------------------------------------
 */

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void give_back_failed(struct balloon *b, int rc, uint64_t gpa, uint64_t len)
{
	if (rc == -EFAULT)
		virtio_fail(&b->dev, "memory %#llx+%#llx is not RAM", (unsigned long long)gpa,
			    (unsigned long long)len);
	else /* locked or pinned by the host's user: they stay, and the guest goes on */
		log_limited(&b->dev.log, LOG_LVL_WARN, "%s: giving memory back: %s", b->dev.name,
			    strerror(-rc));
}

static void give_back(struct balloon *b, unsigned cnt)
{
	qsort(b->pfn, cnt, sizeof(b->pfn[0]), by_number);
	for (unsigned i = 0, n; i < cnt && !b->dev.broken; i += n) {
		uint64_t gpa = (uint64_t)b->pfn[i] * PAGE, len = PAGE;
		int rc;

		/* Also over numbers that came twice. */
		for (n = 1; i + n < cnt && b->pfn[i + n] - b->pfn[i + n - 1] <= 1; n++)
			len += (uint64_t)(b->pfn[i + n] - b->pfn[i + n - 1]) * PAGE;
		rc = gmem_discard(b->dev.mem, gpa, len);
		if (rc < 0)
			give_back_failed(b, rc, gpa, len);
	}
}

static void serve_pages(struct balloon *b, const struct vq *q, const struct vq_chain *c)
{
	unsigned cnt = (unsigned)(c->out_len / sizeof(le32_t));

	if (c->in_len || c->out_len % sizeof(le32_t) || c->out_len > sizeof(b->wire)) {
		virtio_fail(&b->dev, "a list of pages of %zu bytes, %zu of them writable",
			    c->out_len + c->in_len, c->in_len);
		return;
	}
	if (q->idx != INFLATE_Q)
		return;
	/* Copied once: the guest may rewrite its list while it is looked at. */
	(void)iov_read(vq_out(c), c->out_cnt, 0, b->wire, c->out_len);
	for (unsigned i = 0; i < cnt; i++)
		b->pfn[i] = le32_get(b->wire[i]);
	give_back(b, cnt);
}

static void serve_report(struct balloon *b, const struct vq_chain *c)
{
	struct cfg_wire w;

	if (c->out_len) {
		virtio_fail(&b->dev, "a report of free memory with %zu bytes to read", c->out_len);
		return;
	}
	virtio_cfg_read(&b->dev, 0, &w, sizeof(w));
	/* 5.5.6.7.1: pages that must keep a pattern other than zeros stay as they are. */
	if (virtio_has(&b->dev, F_PAGE_POISON) && le32_get(w.poison_val))
		return;
	for (unsigned i = 0; i < c->in_cnt; i++) {
		int rc = gmem_discard_span(b->dev.mem, &vq_in(c)[i]);

		if (rc == -EFAULT) {
			virtio_fail(&b->dev, "a report of free memory that is not RAM");
			return;
		}
		if (rc < 0)
			give_back_failed(b, rc, 0, 0);
		else
			b->stats.reported += vq_in(c)[i].iov_len;
	}
}

/* ---- statistics ----------------------------------------------------------------------------------
 */

/* 5.5.6.3; in the order of their tags. */
static uint64_t *stat_place(struct balloon_stats *s, unsigned tag)
{
	uint64_t *const place[] = {&s->swap_in, &s->swap_out, &s->major_faults, &s->minor_faults,
				   &s->free,	&s->total,    &s->available,	&s->caches};

	return tag < ARRAY_LEN(place) ? place[tag] : NULL;
}

static void forget_stats(struct balloon_stats *s)
{
	s->guest = false;
	for (unsigned tag = 0; stat_place(s, tag); tag++)
		*stat_place(s, tag) = BALLOON_STAT_NONE;
}

static void serve_stats(struct balloon *b, struct vq *q, const struct vq_chain *c)
{
	struct stat_wire w[STATS_MAX];
	size_t cnt;

	if (c->in_len) {
		virtio_fail(&b->dev, "statistics with %zu writable bytes", c->in_len);
		return;
	}
	cnt = iov_read(vq_out(c), c->out_cnt, 0, w, sizeof(w)) / sizeof(w[0]);
	forget_stats(&b->stats);
	for (size_t i = 0; i < cnt; i++) {
		uint64_t *to = stat_place(&b->stats, le16_get(w[i].tag));

		if (to)
			*to = le64_get(w[i].val);
	}
	b->stats.guest = cnt > 0;
	b->stats.taken_ns = clock_ns();
	/* One buffer is the rule; who leaves a second one gets the first back. */
	if (b->stats_held)
		vq_push(q, b->stats_head, 0);
	b->stats_head = c->head;
	b->stats_held = true;
	changed(b);
}

static bool return_stats(struct balloon *b)
{
	struct vq *q = &b->dev.vq[b->stats_q];

	if (!b->stats_held || !b->dev.running || b->dev.stopping || b->dev.broken)
		return false;
	b->stats_held = false;
	vq_push(q, b->stats_head, 0);
	vq_notify(q);
	return true;
}

bool balloon_ask(struct virtio_dev *dev)
{
	return !dev->frozen && return_stats(balloon_of(dev));
}

void balloon_stats(struct virtio_dev *dev, struct balloon_stats *ret)
{
	struct balloon *b = balloon_of(dev);
	struct cfg_wire w;

	*ret = b->stats;
	virtio_cfg_read(dev, 0, &w, sizeof(w));
	ret->target = (uint64_t)le32_get(w.num_pages) * PAGE;
	ret->actual = (uint64_t)le32_get(w.actual) * PAGE;
}

static void put_target(struct virtio_dev *dev, void *arg)
{
	memcpy(dev->cfg + offsetof(struct cfg_wire, num_pages), arg, sizeof(le32_t));
}

void balloon_set_target(struct virtio_dev *dev, uint64_t bytes)
{
	le32_t pages = le32_of((uint32_t)MIN(bytes / PAGE, (uint64_t)UINT32_MAX));

	virtio_cfg_update(dev, put_target, &pages);
}

/* ---- device --------------------------------------------------------------------------------------
 */

static void serve(struct balloon *b, struct vq *q, const struct vq_chain *c)
{
	if (q->idx == b->stats_q && b->stats_q) {
		serve_stats(b, q, c);
		if (!b->dev.broken)
			return; /* it is kept */
	} else if (q->idx == b->report_q && b->report_q) {
		serve_report(b, c);
	} else if (q->idx < FIRST_OPTIONAL_Q) {
		serve_pages(b, q, c);
	}
	vq_push(q, c->head, 0);
}

static void balloon_kick(struct virtio_dev *dev, struct vq *q)
{
	struct balloon *b = balloon_of(dev);
	unsigned left = BUDGET;

	while (left) {
		struct vq_chain c = {.iov = b->iov, .cap = SPANS};

		if (vq_pop(q, &c) != 1)
			break;
		serve(b, q, &c);
		left--;
	}
	vq_notify(q);
	if (!left && dev->loop)
		loop_post(dev->loop, &b->more);
}

static void kick_more(struct loop_work *w)
{
	struct balloon *b = container_of(w, struct balloon, more);

	if (b->draining) {
		b->draining = false;
		virtio_stopped(&b->dev);
		return;
	}
	for (unsigned i = 0; i < QUEUES; i++)
		virtio_kick(&b->dev, i);
}

static int balloon_start(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);
	unsigned next = FIRST_OPTIONAL_Q;

	b->stats_held = false;
	forget_stats(&b->stats);
	b->stats_q = virtio_has(dev, F_STATS_VQ) ? next++ : 0;
	b->report_q = virtio_has(dev, F_REPORTING) ? next++ : 0;
	return 0;
}

static void balloon_stop(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);

	b->stats_held = false;
	if (b->more.queued)
		b->draining = true;
	else
		virtio_stopped(dev);
}

static void balloon_freeze(struct virtio_dev *dev)
{
	/* The buffer that is kept goes back: the driver brings a new one. */
	(void)return_stats(balloon_of(dev));
	virtio_quiet(dev);
}

static int balloon_save(struct virtio_dev *dev, struct buf *to, struct err *e)
{
	(void)e;
	return buf_append(to, dev->cfg + offsetof(struct cfg_wire, num_pages), sizeof(le32_t));
}

static int balloon_load(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e)
{
	(void)e;
	if (len != sizeof(le32_t))
		return -EPROTO;
	memcpy(dev->cfg + offsetof(struct cfg_wire, num_pages), p, len);
	return 0;
}

/* The driver tells how large its balloon is. */
static void balloon_cfg_write(struct virtio_dev *dev, size_t off, size_t len)
{
	(void)len;
	if (off == offsetof(struct cfg_wire, actual))
		changed(balloon_of(dev));
}

static void balloon_free(struct virtio_dev *dev)
{
	virtio_fini(dev);
	free(balloon_of(dev));
}

static const struct virtio_ops balloon_ops = {
    .name = "balloon",
    .id = VIRTIO_ID_BALLOON,
    .start = balloon_start,
    .kick = balloon_kick,
    .stop = balloon_stop,
    .freeze = balloon_freeze,
    .save_version = 1,
    .save = balloon_save,
    .load = balloon_load,
    .cfg_write = balloon_cfg_write,
    .free = balloon_free,
};

int balloon_new(struct virtio_dev **ret, const char *name, const struct balloon_config *cfg,
		struct err *e)
{
	static const uint16_t max[QUEUES] = {QUEUE_NUM, QUEUE_NUM, QUEUE_NUM, QUEUE_NUM};
	uint64_t features = F_REPORTING | F_PAGE_POISON | (cfg->stats ? F_STATS_VQ : 0) |
			    (cfg->deflate_on_oom ? F_DEFLATE_ON_OOM : 0);
	struct balloon *b = calloc(1, sizeof(*b));

	if (!b || virtio_init(&b->dev, &balloon_ops, name, features, QUEUES, max,
			      sizeof(struct cfg_wire)) < 0) {
		free(b);
		return err_set(e, -ENOMEM, "balloon '%s': out of memory", name);
	}
	b->dev.cfg_rw_off = offsetof(struct cfg_wire, actual);
	b->dev.cfg_rw_len = sizeof(struct cfg_wire) - b->dev.cfg_rw_off;
	b->cfg = *cfg;
	b->more.fn = kick_more;
	forget_stats(&b->stats);
	*ret = &b->dev;
	return 0;
}
