/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng (virtio 1.2, section 5.4): buffers are filled by getrandom(2). Loop thread.
 *
 * Two limits keep a guest from making the host work for it: a request gets at most REQUEST_MAX
 * bytes (the driver asks again), and a token bucket bounds the rate. A request that finds the
 * bucket empty waits for a timer; it is not failed, since a guest that needs entropy has nothing
 * else to do.
 */
#include "virtio/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"

#define REQUEST_MAX (64u << 10)
#define REQUEST_MIN 64u		     /* what a request costs at least, empty ones too */
#define BUCKET_MAX  (256u << 10)     /* bytes at once after a pause */
#define RATE	    (4u << 20)	     /* bytes per second */
#define TICK_NS	    (20 * NS_PER_MS) /* how long a waiting request sleeps at least */
#define RNG_NUM	    16u
#define RNG_SPANS   64u

struct rng {
	struct virtio_dev dev;
	uint64_t tokens, filled_ns;
	struct loop_timer timer;
	struct vq_chain c; /* the request that waits for the timer, while @held */
	bool held;
	struct iovec iov[RNG_SPANS];
};

static struct rng *rng_of(struct virtio_dev *dev)
{
	return container_of(dev, struct rng, dev);
}

static void refill(struct rng *r)
{
	uint64_t now = clock_ns(), ns = now - r->filled_ns;

	/* Long pauses would overflow the product, and fill the bucket anyway. */
	r->tokens =
	    ns >= NS_PER_SEC ? BUCKET_MAX : MIN(r->tokens + ns * RATE / NS_PER_SEC, BUCKET_MAX);
	r->filled_ns = now;
}

/* Fills the chain with up to @max bytes. Returns how many. */
static uint32_t fill(const struct vq_chain *c, size_t max)
{
	const struct iovec *v = vq_in(c);
	size_t done = 0;

	for (unsigned i = 0; i < c->in_cnt && done < max; i++) {
		size_t len = MIN(v[i].iov_len, max - done), got = 0;

		while (got < len) {
			ssize_t n = getrandom((uint8_t *)v[i].iov_base + got, len - got, 0);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				return (uint32_t)done;
			got += (size_t)n;
			done += (size_t)n;
		}
	}
	return (uint32_t)done;
}

static void serve(struct rng *r)
{
	struct vq *q = &r->dev.vq[0];

	refill(r);
	/* The bucket bounds this loop too, since no request is free. */
	for (;;) {
		size_t need;

		if (!r->held) {
			r->c = (struct vq_chain){.iov = r->iov, .cap = RNG_SPANS};
			if (vq_pop(q, &r->c) != 1)
				break;
			r->held = true;
		}
		need = MAX(MIN(r->c.in_len, REQUEST_MAX), REQUEST_MIN);
		if (r->dev.loop && r->tokens < need) {
			if (!r->timer.op.busy)
				loop_timer(r->dev.loop, &r->timer, clock_ns() + TICK_NS);
			break;
		}
		r->tokens -= MIN(need, r->tokens);
		r->held = false;
		vq_push(q, r->c.head, fill(&r->c, REQUEST_MAX));
	}
	vq_notify(q);
}

static void timer_done(struct loop_op *op, int res, unsigned flags)
{
	struct rng *r = container_of(op, struct rng, timer.op);

	(void)res;
	(void)flags;
	if (r->dev.stopping)
		virtio_stopped(&r->dev);
	else if (r->dev.frozen)
		virtio_quiet(&r->dev);
	else if (r->dev.running)
		serve(r);
}

static void rng_kick(struct virtio_dev *dev, struct vq *q)
{
	(void)q;
	/* While the timer runs a request waits already, and the next one behind it. */
	if (!rng_of(dev)->timer.op.busy)
		serve(rng_of(dev));
}

static void rng_stop(struct virtio_dev *dev)
{
	struct rng *r = rng_of(dev);

	r->held = false;
	if (r->timer.op.busy)
		loop_cancel(dev->loop, &r->timer.op);
	else
		virtio_stopped(dev);
}

static void rng_freeze(struct virtio_dev *dev)
{
	struct rng *r = rng_of(dev);

	if (r->held)
		vq_unpop(&dev->vq[0], &r->c);
	r->held = false;
	if (r->timer.op.busy)
		loop_cancel(dev->loop, &r->timer.op);
	else
		virtio_quiet(dev);
}

static void rng_free(struct virtio_dev *dev)
{
	virtio_fini(dev);
	free(rng_of(dev));
}

static const struct virtio_ops rng_ops = {
    .name = "rng",
    .id = VIRTIO_ID_RNG,
    .kick = rng_kick,
    .stop = rng_stop,
    .freeze = rng_freeze,
    .free = rng_free,
};

int rng_new(struct virtio_dev **ret, const char *name, struct err *e)
{
	static const uint16_t max[] = {RNG_NUM};
	struct rng *r = calloc(1, sizeof(*r));

	if (!r || virtio_init(&r->dev, &rng_ops, name, 0, 1, max, 0) < 0) {
		free(r);
		return err_set(e, -ENOMEM, "rng '%s': out of memory", name);
	}
	r->tokens = BUCKET_MAX;
	r->filled_ns = clock_ns();
	r->timer.op.done = timer_done;
	r->timer.op.what = "rng refill";
	*ret = &r->dev;
	return 0;
}
