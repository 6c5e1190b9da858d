/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-pmem (virtio 1.2, section 5.19): a file is mapped into the guest by the VMM, and this
 * device carries out the flushes that make what the guest stored there durable. Loop thread.
 *
 * One fsync(2) runs at a time. Flushes that arrive meanwhile wait for the next one, which then
 * answers all of them: it starts after each of them was asked for, and covers all.
 */
#include "virtio/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/fd.h"

struct pmem_config_wire {
	le64_t start, size;
};
_Static_assert(sizeof(struct pmem_config_wire) == 16, "virtio 1.2, 5.19.4");

/* 5.19.6 */
#define REQ_FLUSH  0u
#define RESP_OK	   0u
#define RESP_EIO   1u

#define PMEM_NUM   64u
#define PMEM_SPANS 8u /* of the 4 bytes each way, cut as guest memory may cut them */

struct flush {
	struct vq_chain c;
	bool known; /* else another kind of request, refused when its turn comes */
	struct iovec iov[PMEM_SPANS];
};

struct pmem {
	struct virtio_dev dev;
	int fd;
	struct loop_op op;
	/* Requests in the order of arrival: [0, running) wait for the fsync at work, the rest for
	 * the next. */
	unsigned cnt, running;
	struct flush *order[PMEM_NUM];
	struct flush *idle[PMEM_NUM];
	unsigned idle_cnt;
	struct flush req[PMEM_NUM];
};

static struct pmem *pmem_of(struct virtio_dev *dev)
{
	return container_of(dev, struct pmem, dev);
}

static void pmem_kick(struct virtio_dev *dev, struct vq *q);

static void answer(struct pmem *p, struct flush *f, uint32_t ret)
{
	le32_t wire = le32_of(ret);

	(void)iov_write(vq_in(&f->c), f->c.in_cnt, 0, &wire, sizeof(wire));
	vq_push(&p->dev.vq[0], f->c.head, sizeof(wire));
	p->idle[p->idle_cnt++] = f;
}

/* The fsync at work has ended with @res: answers whom it was for. */
static void answer_running(struct pmem *p, int res)
{
	for (unsigned i = 0; i < p->running; i++)
		answer(p, p->order[i], res < 0 || !p->order[i]->known ? RESP_EIO : RESP_OK);
	p->cnt -= p->running;
	memmove(p->order, p->order + p->running, p->cnt * sizeof(p->order[0]));
	p->running = 0;
	vq_notify(&p->dev.vq[0]);
}

static void flush_begin(struct pmem *p)
{
	if (p->op.busy || !p->cnt)
		return;
	p->running = p->cnt;
	if (p->dev.loop)
		loop_fsync(p->dev.loop, &p->op, p->fd, false);
	else
		answer_running(p, fsync(p->fd));
}

static void forget_all(struct pmem *p)
{
	p->cnt = p->running = 0;
	p->idle_cnt = PMEM_NUM;
	for (unsigned i = 0; i < PMEM_NUM; i++)
		p->idle[i] = &p->req[i];
}

static void fsync_done(struct loop_op *op, int res, unsigned flags)
{
	struct pmem *p = container_of(op, struct pmem, op);

	(void)flags;
	if (res < 0 && res != -ECANCELED)
		log_limited(&p->dev.log, LOG_LVL_ERROR, "%s: fsync: %s", p->dev.name,
			    strerror(-res));
	if (p->dev.stopping) {
		forget_all(p);
		virtio_stopped(&p->dev);
		return;
	}
	answer_running(p, res);
	pmem_kick(&p->dev, &p->dev.vq[0]);
	if (!p->cnt)
		virtio_quiet(&p->dev);
}

/* Looks at a request: false when it is none, which fails the device. */
static bool parse(struct pmem *p, struct flush *f)
{
	le32_t type;

	if (iov_read(vq_out(&f->c), f->c.out_cnt, 0, &type, sizeof(type)) != sizeof(type) ||
	    f->c.in_len < sizeof(le32_t)) {
		virtio_fail(&p->dev, "request of %zu bytes with %zu for the answer", f->c.out_len,
			    f->c.in_len);
		vq_push(&p->dev.vq[0], f->c.head, 0);
		return false;
	}
	f->known = le32_get(type) == REQ_FLUSH;
	return true;
}

static void pmem_kick(struct virtio_dev *dev, struct vq *q)
{
	struct pmem *p = pmem_of(dev);

	/* A ring's worth at most: when none is idle, the end of the fsync comes back here. */
	while (p->idle_cnt) {
		struct flush *f = p->idle[p->idle_cnt - 1];

		f->c = (struct vq_chain){.iov = f->iov, .cap = PMEM_SPANS};
		if (vq_pop(q, &f->c) != 1 || !parse(p, f))
			break;
		p->idle_cnt--;
		p->order[p->cnt++] = f;
	}
	flush_begin(p);
}

static void pmem_stop(struct virtio_dev *dev)
{
	struct pmem *p = pmem_of(dev);

	if (p->op.busy) {
		loop_cancel(dev->loop, &p->op);
		return;
	}
	forget_all(p);
	virtio_stopped(dev);
}

/* Those that wait for the next fsync get it. */
static void pmem_freeze(struct virtio_dev *dev)
{
	if (!pmem_of(dev)->cnt)
		virtio_quiet(dev);
}

static void pmem_free(struct virtio_dev *dev)
{
	struct pmem *p = pmem_of(dev);

	fd_close(&p->fd);
	virtio_fini(dev);
	free(p);
}

static const struct virtio_ops pmem_ops = {
    .name = "pmem",
    .id = VIRTIO_ID_PMEM,
    .kick = pmem_kick,
    .stop = pmem_stop,
    .freeze = pmem_freeze,
    .free = pmem_free,
};

int pmem_new(struct virtio_dev **ret, const char *name, const struct pmem_config *cfg,
	     struct err *e)
{
	static const uint16_t max[] = {PMEM_NUM};
	struct pmem_config_wire w = {.start = le64_of(cfg->gpa), .size = le64_of(cfg->len)};
	auto_fd fd = cfg->fd;
	struct pmem *p = calloc(1, sizeof(*p));

	if (!p || virtio_init(&p->dev, &pmem_ops, name, 0, 1, max, sizeof(w)) < 0) {
		free(p);
		return err_set(e, -ENOMEM, "pmem '%s': out of memory", name);
	}
	memcpy(p->dev.cfg, &w, sizeof(w));
	p->fd = fd_take(&fd);
	p->op.done = fsync_done;
	p->op.what = "pmem flush";
	forget_all(p);
	*ret = &p->dev;
	return 0;
}
