/* SPDX-License-Identifier: Apache-2.0 */
/* See watch.h. */
#include "vmm/watch.h"

#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "base/thread.h"
#include "vmm/check.h"

static void *probe_main(void *arg)
{
	struct watch *w = arg;

	w->rc = kvm_probe_fd(w->kvm_fd, &w->give_up, &w->err);
	loop_post(w->loop, &w->answer);
	return NULL;
}

static void finish(struct watch *w)
{
	if (!w->stopping || w->timer.op.busy || w->probing)
		return;
	w->stopping = false;
	w->stopped(w->ctx);
}

static void on_answer(struct loop_work *work)
{
	struct watch *w = container_of(work, struct watch, answer);

	(void)pthread_join(w->thread, NULL);
	w->probing = false;
	/*
	 * Only a guest that failed says something: no VM for the probe may have any reason, a
	 * filter say. And a guest that has come to life meanwhile knows better.
	 */
	if (w->rc == -ENOTSUP && !atomic_load(&w->give_up))
		w->broken(w->ctx, w->err.msg);
	finish(w);
}

static void on_time(struct loop_op *op, int res, unsigned flags)
{
	struct watch *w = container_of(op, struct watch, timer.op);

	(void)flags;
	if (res == -ETIME && !w->stopping && !atomic_load(&w->give_up))
		w->probing = thread_start(&w->thread, THREAD_STACK, probe_main, w) == 0;
	finish(w);
}

void watch_start(struct watch *w, struct loop *loop, int kvm_fd)
{
	w->loop = loop;
	w->kvm_fd = kvm_fd;
	w->answer.fn = on_answer;
	w->timer.op.done = on_time;
	w->timer.op.what = "watch over the first steps";
	loop_timer(loop, &w->timer, clock_ns() + WATCH_NS);
}

void watch_alive(struct watch *w)
{
	if (atomic_load_explicit(&w->give_up, memory_order_relaxed))
		return;
	atomic_store(&w->give_up, true);
	if (w->loop)
		loop_cancel(w->loop, &w->timer.op);
}

void watch_stop(struct watch *w)
{
	w->stopping = true;
	watch_alive(w);
	finish(w);
}
