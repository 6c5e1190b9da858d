/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that halt for good. Without a power-off register in the hardware's description (MP table),
 * Linux powers off by halting every processor with interrupts off: KVM then waits for ever, and
 * nobody is told.
 *
 * Every HALT_TICK_NS the loop looks at the CPU time of the vCPU threads. While it grows the guest is
 * alive; when it stands still the vCPUs are called together outside of KVM, and each says whether
 * anything but another processor could wake it. They answer while none of them runs, so that what
 * one of them sent to another before is seen. A guest that is merely idle is asked again after
 * longer and longer times, up to HALT_TICKS_MAX.
 */
#ifndef HUSK_VMM_HALT_H
#define HUSK_VMM_HALT_H

#include <pthread.h>
#include <stdbool.h>
#include "base/loop.h"
#include "vmm/vcpu.h"

#define HALT_TICK_NS   500000000ull
#define HALT_TICKS_MAX 16u
/* CPU time of a tick in which the guest did something. */
#define HALT_BUSY_NS 1000000ull

struct halt {
	struct loop *loop;
	struct vcpu *vcpu;
	unsigned cpus;
	struct vcpu_shared *sh;
	void (*halted)(void *ctx);  /* all have halted for good; a vCPU thread, under no lock */
	void (*stopped)(void *ctx); /* the answer to halt_stop() */
	void *ctx;

	struct loop_timer timer;
	uint64_t seen;	    /* CPU time, at the last tick */
	unsigned wait, due; /* ticks */
	bool running, stopping;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t cond;
	unsigned round, arrived, voted, dead;
};

/* Before the first vCPU thread. @vcpu: all of them, @sh->cpus; both stay. */
void halt_init(struct halt *h, struct vcpu *vcpu, struct vcpu_shared *sh);
void halt_fini(struct halt *h);
/* Loop thread. The callbacks and @ctx are set, and every vCPU has its thread. */
void halt_start(struct halt *h, struct loop *loop);
/* stopped() follows on the loop, or comes at once; the vCPU threads have been joined. */
void halt_stop(struct halt *h);
/* After sh->stop was set: lets go those that wait for others. Loop thread. */
void halt_release(struct halt *h);
/* The thread of @v has found sh->called: goes there, and comes back when all have answered. */
void halt_muster(struct halt *h, const struct vcpu *v);

#endif
