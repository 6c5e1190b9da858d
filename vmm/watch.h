/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that gets nowhere because the host's KVM is not whole: kernel code runs in an instruction
 * emulator, a thousand times too slow, without any error. A machine whose guest has not yet used a
 * virtio device when WATCH_NS have passed asks kvm_probe()'s stages, in a thread of their own; a
 * guest that boots normally is there sooner, and then nothing at all has been done.
 *
 * All functions on the loop thread.
 */
#ifndef HUSK_VMM_WATCH_H
#define HUSK_VMM_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "base/err.h"
#include "base/loop.h"

/* On hardware a guest's kernel gets to its drivers in a twentieth of it. */
#define WATCH_NS 3000000000ull

struct watch {
	struct loop *loop;
	int kvm_fd;
	void (*broken)(void *ctx, const char *why); /* once; a guest cannot run here */
	void (*stopped)(void *ctx);		    /* the answer to watch_stop() */
	void *ctx;

	struct loop_timer timer;
	struct loop_work answer;
	pthread_t thread;
	atomic_bool give_up;
	bool probing, stopping;
	int rc;
	struct err err;
};

/* @kvm_fd stays the caller's until stopped(). The callbacks and @ctx are set before. */
void watch_start(struct watch *w, struct loop *loop, int kvm_fd);
/* The guest has shown that it lives. */
void watch_alive(struct watch *w);
/* stopped() follows on the loop, or comes at once; @w is not used any more then. */
void watch_stop(struct watch *w);

#endif
