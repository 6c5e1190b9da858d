/* SPDX-License-Identifier: Apache-2.0 */
/* See pause.h. */
#include "vmm/pause.h"

#include <errno.h>

#include "base/clock.h"
#include "base/compiler.h"

static bool all_parked(struct pause *p)
{
	bool all;

	(void)pthread_mutex_lock(&p->lock);
	all = p->parked == p->sh->cpus;
	(void)pthread_mutex_unlock(&p->lock);
	return all;
}

static void let_go(struct pause *p)
{
	p->paused = false;
	(void)pthread_mutex_lock(&p->lock);
	atomic_store(&p->sh->paused, false);
	(void)pthread_cond_broadcast(&p->go);
	(void)pthread_mutex_unlock(&p->lock);
}

/* Answers the request that waits. What it calls may ask for the next. */
static void answer(struct pause *p, int rc)
{
	void (*done)(void *ctx, int rc) = p->done;

	p->done = NULL;
	loop_cancel(p->loop, &p->timer.op);
	if (done)
		done(p->done_ctx, rc);
}

static void finish(struct pause *p)
{
	if (!p->stopping || p->timer.op.busy)
		return;
	p->stopping = false;
	p->stopped(p->ctx);
}

static void on_arrived(struct loop_work *w)
{
	struct pause *p = container_of(w, struct pause, arrived);

	/* Another request may have come and gone since it was posted. */
	if (!p->done || atomic_load(&p->sh->stop) || !all_parked(p))
		return;
	p->paused = true;
	answer(p, 0);
}

static void on_time(struct loop_op *op, int res, unsigned flags)
{
	struct pause *p = container_of(op, struct pause, timer.op);

	(void)res;
	(void)flags;
	if (p->stopping) {
		finish(p);
		return;
	}
	if (!p->done)
		return;
	if (clock_ns() < p->until) { /* an earlier request's, cancelled */
		loop_timer(p->loop, &p->timer, p->until);
		return;
	}
	let_go(p);
	answer(p, -ETIMEDOUT);
}

void pause_init(struct pause *p, struct vcpu *vcpu, struct vcpu_shared *sh, struct loop *loop)
{
	*p = (struct pause){.vcpu = vcpu, .sh = sh, .loop = loop};
	p->arrived.fn = on_arrived;
	p->timer.op = (struct loop_op){.done = on_time, .what = "wait for vCPUs to pause"};
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->go, NULL);
}

void pause_fini(struct pause *p)
{
	loop_unpost(p->loop, &p->arrived);
	(void)pthread_cond_destroy(&p->go);
	(void)pthread_mutex_destroy(&p->lock);
}

int pause_begin(struct pause *p, uint64_t timeout_ns, void (*done)(void *ctx, int rc), void *ctx)
{
	bool all;

	if (atomic_load(&p->sh->stop))
		return -ESRCH;
	if (p->done)
		return -EBUSY;
	p->done = done;
	p->done_ctx = ctx;
	p->until = clock_ns() + timeout_ns;
	if (!p->timer.op.busy)
		loop_timer(p->loop, &p->timer, p->until);
	/* Those of the last pause may not have left yet: then they just stay. */
	(void)pthread_mutex_lock(&p->lock);
	atomic_store(&p->sh->paused, true);
	all = p->parked == p->sh->cpus;
	(void)pthread_mutex_unlock(&p->lock);
	if (all)
		loop_post(p->loop, &p->arrived);
	for (unsigned i = 0; !all && i < p->sh->cpus; i++)
		vcpu_kick(&p->vcpu[i]);
	return 0;
}

void pause_end(struct pause *p)
{
	let_go(p);
	answer(p, -ECANCELED);
}

void pause_release(struct pause *p)
{
	(void)pthread_mutex_lock(&p->lock);
	(void)pthread_cond_broadcast(&p->go);
	(void)pthread_mutex_unlock(&p->lock);
}

void pause_stop(struct pause *p)
{
	p->stopping = true;
	p->paused = false;
	answer(p, -ECANCELED);
	finish(p);
}

void pause_park(struct pause *p, struct vcpu *v)
{
	(void)pthread_mutex_lock(&p->lock);
	if (++p->parked == p->sh->cpus)
		loop_post(p->loop, &p->arrived);
	while (atomic_load(&p->sh->paused) && !atomic_load(&p->sh->stop))
		(void)pthread_cond_wait(&p->go, &p->lock);
	p->parked--;
	(void)pthread_mutex_unlock(&p->lock);
	/* A guest without kvmclock cannot be told. */
	if (!atomic_load(&p->sh->stop))
		(void)kvm_call_int(v->fd, KVM_KVMCLOCK_CTRL, 0);
}
