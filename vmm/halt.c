/* SPDX-License-Identifier: Apache-2.0 */
/* See halt.h. */
#include "vmm/halt.h"

#include <time.h>

#include "base/clock.h"
#include "base/compiler.h"

static uint64_t cpu_time(const struct halt *h)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < h->cpus; i++) {
		struct timespec ts;
		clockid_t clock;

		if (pthread_getcpuclockid(h->vcpu[i].thread, &clock) == 0 &&
		    clock_gettime(clock, &ts) == 0)
			sum += (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
	}
	return sum;
}

/* Not while one waits for the reader of its output, say: the others would wait with it. */
static bool all_inside(const struct halt *h)
{
	for (unsigned i = 0; i < h->cpus; i++) {
		if (!atomic_load_explicit(&h->vcpu[i].inside, memory_order_relaxed))
			return false;
	}
	return true;
}

static void call_together(struct halt *h)
{
	atomic_store(&h->sh->called, true);
	for (unsigned i = 0; i < h->cpus; i++)
		vcpu_kick(&h->vcpu[i]);
}

static void arm(struct halt *h)
{
	loop_timer(h->loop, &h->timer, clock_ns() + HALT_TICK_NS);
}

static void finish(struct halt *h)
{
	if (!h->stopping || h->timer.op.busy)
		return;
	h->stopping = h->running = false;
	h->stopped(h->ctx);
}

static void on_tick(struct loop_op *op, int res, unsigned flags)
{
	struct halt *h = container_of(op, struct halt, timer.op);
	uint64_t now;

	(void)flags;
	if (h->stopping) {
		finish(h);
		return;
	}
	/* The threads may be joined from the moment on at which they are told to leave. */
	if (res != -ETIME || atomic_load(&h->sh->stop))
		return;
	now = cpu_time(h);
	if (atomic_load(&h->sh->paused)) {
		h->wait = h->due = 1;
	} else if (now - h->seen >= HALT_BUSY_NS) {
		h->wait = h->due = 1;
	} else if (h->due > 1) {
		h->due--;
	} else if (all_inside(h)) {
		h->wait = MIN(2 * h->wait, HALT_TICKS_MAX);
		h->due = h->wait;
		call_together(h);
	}
	h->seen = now;
	arm(h);
}

void halt_init(struct halt *h, struct vcpu *vcpu, struct vcpu_shared *sh)
{
	*h = (struct halt){.vcpu = vcpu, .sh = sh};
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_cond_init(&h->cond, NULL);
}

void halt_fini(struct halt *h)
{
	(void)pthread_cond_destroy(&h->cond);
	(void)pthread_mutex_destroy(&h->lock);
}

void halt_start(struct halt *h, struct loop *loop)
{
	h->loop = loop;
	h->cpus = h->sh->cpus;
	h->wait = h->due = 1;
	h->timer.op.done = on_tick;
	h->timer.op.what = "look for a halted guest";
	h->running = true;
	arm(h);
}

void halt_stop(struct halt *h)
{
	h->stopping = true;
	if (h->running)
		loop_cancel(h->loop, &h->timer.op);
	finish(h);
}

void halt_release(struct halt *h)
{
	(void)pthread_mutex_lock(&h->lock);
	(void)pthread_cond_broadcast(&h->cond);
	(void)pthread_mutex_unlock(&h->lock);
}

static bool stopping(const struct halt *h)
{
	return atomic_load(&h->sh->stop);
}

void halt_muster(struct halt *h, const struct vcpu *v)
{
	bool dead, all = false;
	unsigned round;

	(void)pthread_mutex_lock(&h->lock);
	round = h->round;
	/* No round ends without us. */
	if (++h->arrived == h->cpus)
		(void)pthread_cond_broadcast(&h->cond);
	while (h->arrived < h->cpus && !stopping(h))
		(void)pthread_cond_wait(&h->cond, &h->lock);
	(void)pthread_mutex_unlock(&h->lock);
	if (stopping(h))
		return;
	dead = vcpu_halted(v);
	(void)pthread_mutex_lock(&h->lock);
	h->dead += dead;
	if (++h->voted == h->cpus) {
		all = h->dead == h->cpus;
		h->arrived = h->voted = h->dead = 0;
		h->round++;
		atomic_store(&h->sh->called, false);
		(void)pthread_cond_broadcast(&h->cond);
	}
	while (h->round == round && !stopping(h))
		(void)pthread_cond_wait(&h->cond, &h->lock);
	(void)pthread_mutex_unlock(&h->lock);
	if (all)
		h->halted(h->ctx);
}
