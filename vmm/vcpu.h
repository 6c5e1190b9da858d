/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU: its descriptor, its thread, and the loop around KVM_RUN.
 *
 * The thread touches registers only: ports, MMIO windows, the IO-APIC; never rings or buffers. It
 * runs until it is stopped, or until something that happened in it ends the machine; then it says
 * so with left(), which is its last act.
 */
#ifndef HUSK_VMM_VCPU_H
#define HUSK_VMM_VCPU_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include "vmm/boot_x86.h"
#include "vmm/bus.h"
#include "vmm/cpuid_x86.h"
#include "vmm/machine.h"
#include "vmm/vm.h"

/* Interrupts KVM_RUN; its handler does nothing. Blocked everywhere but in vCPU threads. */
#define VCPU_SIGNAL (SIGRTMIN + 6)

struct vcpu;

/* What all vCPUs of a machine share. Callbacks come from vCPU threads. */
struct vcpu_shared {
	const struct vm *vm;
	const struct bus *pio, *mmio;
	unsigned cpus;
	struct report *report;
	atomic_bool stop; /* set by whoever ends the machine */
	void (*eoi)(void *ctx, uint8_t vector);
	void (*end)(void *ctx, enum machine_end why, int status, const char *msg);
	void (*left)(void *ctx); /* this thread is about to return */
	atomic_bool called;	 /* the threads have to come to muster(); then they are kicked */
	void (*muster)(void *ctx, struct vcpu *v);
	atomic_bool paused; /* the threads have to park(); then they are kicked */
	void (*park)(void *ctx, struct vcpu *v);
	void *ctx;

	/*
	 * Where threads wait before they first enter the guest, until vcpu_gate_open(); none of it
	 * without @gated. All below under gate_lock.
	 */
	bool gated;
	int (*init)(void *arg, struct err *e); /* first thing in each thread */
	void *init_arg;
	pthread_mutex_t gate_lock;
	pthread_cond_t gate_moved;
	unsigned arrived;
	bool open;
	struct err init_err; /* of the first thread whose init() failed */
};

struct vcpu {
	struct vcpu_shared *sh;
	unsigned index;
	int fd;
	int stats_fd; /* of kvmstats.h; -1 = nobody asks */
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	atomic_bool inside; /* in KVM_RUN; a hint */
};

/* Makes vCPU @index with @cpuid (changed on the way); the first gets @state as its registers,
 * unless that is NULL. */
int vcpu_new(struct vcpu *v, struct vcpu_shared *sh, unsigned index, struct cpuid *cpuid,
	     const struct boot_regs *state, struct err *e) MUST_CHECK;
/* Installs the signal's handler once in the process. */
int vcpu_setup_signal(void) MUST_CHECK;
int vcpu_start(struct vcpu *v, struct err *e) MUST_CHECK;
/*
 * A gated start, loop thread: waits until @cnt threads have done their init() and stand at the gate
 * (0, or the error of one), then lets all of them go on (into the guest, or home after sh->stop).
 */
int vcpu_gate_await(struct vcpu_shared *sh, unsigned cnt, struct err *e) MUST_CHECK;
void vcpu_gate_open(struct vcpu_shared *sh);
/* Gets it out of KVM_RUN after sh->stop, sh->called or sh->paused was set. Loop thread. */
void vcpu_kick(struct vcpu *v);
/* Can nothing but another processor wake it? Its own thread. */
bool vcpu_halted(const struct vcpu *v);
/* Joins (after left()) and frees. Fine on one that was not made (fd < 0). */
void vcpu_free(struct vcpu *v);

#endif
