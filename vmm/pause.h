/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that are stopped for a while: every vCPU thread leaves KVM_RUN, finishes the access that it
 * left for, and parks until it is let go. Devices are not told: what they have taken from the guest
 * goes on, and what they deliver waits in rings and in the interrupt controllers.
 *
 * Time goes on for the guest, as it does for a process that is stopped: its clocks are not turned
 * back, timers that passed meanwhile are late. Linux is told through kvmclock that it stood still,
 * so that its watchdogs (soft lockups, RCU stalls, hung tasks) do not blame the guest.
 *
 * The loop never waits for a vCPU, because a vCPU may wait for the loop: whoever asks for a pause is
 * called back. A vCPU that does not come (it waits for the reader of a serial port, say) lets the
 * pause run into its time-out, and everybody goes on. Loop thread, but for pause_park().
 */
#ifndef HUSK_VMM_PAUSE_H
#define HUSK_VMM_PAUSE_H

#include <pthread.h>
#include <stdbool.h>
#include "base/loop.h"
#include "vmm/vcpu.h"

struct pause {
	struct loop *loop;
	struct vcpu *vcpu;
	struct vcpu_shared *sh;
	void (*stopped)(void *ctx); /* the answer to pause_stop() */
	void *ctx;

	void (*done)(void *ctx, int rc); /* of the request that waits; NULL = none does */
	void *done_ctx;
	uint64_t until;
	struct loop_timer timer;
	struct loop_work arrived; /* the last thread has parked */
	bool paused, stopping;

	pthread_mutex_t lock; /* guards what follows, and setting sh->paused */
	pthread_cond_t go;
	unsigned parked; /* threads */
};

/* Before the first vCPU thread. @vcpu: all of them, @sh->cpus; both stay. */
void pause_init(struct pause *p, struct vcpu *vcpu, struct vcpu_shared *sh, struct loop *loop);
void pause_fini(struct pause *p);
/* See machine_pause() and machine_resume(). Every vCPU has its thread. */
int pause_begin(struct pause *p, uint64_t timeout_ns, void (*done)(void *ctx, int rc),
		void *ctx) MUST_CHECK;
void pause_end(struct pause *p);
/* After sh->stop was set: lets go those that are parked. */
void pause_release(struct pause *p);
/* stopped() follows on the loop, or comes at once; the vCPU threads have been joined. */
void pause_stop(struct pause *p);
/* The thread of @v has found sh->paused, and has no access open: comes back when it may go on. */
void pause_park(struct pause *p, struct vcpu *v);

#endif
