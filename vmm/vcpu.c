/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPUs. See vcpu.h.
 *
 * Stopping: sh->stop is set, then immediate_exit, then the signal is sent. The thread sees the flag
 * before the next KVM_RUN; if it is about to enter it, immediate_exit makes that return; if it is
 * inside, the signal does. With sh->called and sh->paused it is the same.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/thread.h"
#include "vmm/memmap.h"

/* No signal handler needs more, and a guest cannot make us nest. */
#define STACK_SIZE	     (256u << 10)

#define MSR_IA32_MISC_ENABLE 0x1a0u
#define MISC_FAST_STRING     1ull
#define MSR_MTRR_DEF_TYPE    0x2ffu
#define MTRR_ENABLED_WB	     0x806ull

static int set_msrs(const struct vcpu *v)
{
	struct {
		uint32_t nmsrs, pad; /* struct kvm_msrs */
		struct kvm_msr_entry e[2];
	} m = {
	    .nmsrs = 2,
	    /* As firmware leaves them: without, Linux gives up fast string moves and PAT. */
	    .e = {{.index = MSR_IA32_MISC_ENABLE, .data = MISC_FAST_STRING},
		  {.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WB}},
	};
	int rc = kvm_call(v->fd, KVM_SET_MSRS, (struct kvm_msrs *)&m);

	return rc < 0 ? rc : 0;
}

static int set_first_regs(const struct vcpu *v, const struct boot_regs *state)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int rc = kvm_call(v->fd, KVM_GET_SREGS, &sregs);

	if (rc < 0)
		return rc;
	boot_sregs(state, &sregs);
	rc = kvm_call(v->fd, KVM_SET_SREGS, &sregs);
	if (rc < 0)
		return rc;
	boot_gpregs(state, &regs);
	return kvm_call(v->fd, KVM_SET_REGS, &regs);
}

int vcpu_new(struct vcpu *v, struct vcpu_shared *sh, unsigned index, struct cpuid *cpuid,
	     const struct boot_regs *state, struct err *e)
{
	void *run;
	int rc;

	*v = (struct vcpu){.sh = sh, .index = index, .fd = -1, .stats_fd = -1};
	v->fd = kvm_call_int(sh->vm->fd, KVM_CREATE_VCPU, index);
	if (v->fd < 0)
		return err_sys(e, v->fd, "KVM cannot make vCPU %u", index);
	run = mmap(NULL, sh->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED) {
		rc = -errno;
		return err_sys(e, rc, "mapping the shared page of vCPU %u", index);
	}
	v->run = run;
	cpuid_for_vcpu(cpuid, index, sh->cpus);
	rc = kvm_call(v->fd, KVM_SET_CPUID2, (struct kvm_cpuid2 *)cpuid);
	if (rc < 0)
		return err_sys(e, rc, "KVM refuses the CPUID of vCPU %u", index);
	rc = set_msrs(v);
	if (rc == 0 && index == 0 && state)
		rc = set_first_regs(v, state);
	if (rc < 0)
		return err_sys(e, rc, "KVM refuses the start state of vCPU %u", index);
	return 0;
}

static void on_signal(int sig)
{
	(void)sig;
}

int vcpu_setup_signal(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	(void)sigemptyset(&sa.sa_mask);
	return sigaction(VCPU_SIGNAL, &sa, NULL) < 0 ? -errno : 0;
}

static void do_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *p = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, p += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			(void)bus_write(v->sh->pio, run->io.port, p, run->io.size);
		else
			(void)bus_read(v->sh->pio, run->io.port, p, run->io.size);
	}
}

static void do_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	if (run->mmio.is_write)
		(void)bus_write(v->sh->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		(void)bus_read(v->sh->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static void end(struct vcpu *v, enum machine_end why, const char *msg)
{
	v->sh->end(v->sh->ctx, why, 0, msg);
}

static void end_failed(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	char msg[160];

	switch (run->exit_reason) {
	case KVM_EXIT_INTERNAL_ERROR:
		(void)snprintf(msg, sizeof(msg),
			       "KVM cannot execute guest kernel code on this host "
			       "(internal error %u); 'vmm check' tells more",
			       run->internal.suberror);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		(void)snprintf(msg, sizeof(msg),
			       "KVM cannot enter the guest on this host (hardware reason "
			       "0x%llx); 'vmm check' tells more",
			       (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		(void)snprintf(msg, sizeof(msg),
			       "KVM stopped the guest for a reason that this machine does "
			       "not know (exit %u)",
			       run->exit_reason);
		break;
	}
	end(v, MACHINE_FAILED, msg);
}

static void do_event(struct vcpu *v)
{
	switch (v->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		end(v, MACHINE_POWEROFF, NULL);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		end(v, MACHINE_RESET, NULL);
		break;
	default:
		end(v, MACHINE_PANIC, NULL);
		break;
	}
}

static void handle_exit(struct vcpu *v)
{
	struct vcpu_shared *sh = v->sh;

	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		report_count(sh->report, REPORT_IO);
		do_io(v);
		break;
	case KVM_EXIT_MMIO:
		report_count(sh->report, REPORT_MMIO);
		do_mmio(v);
		break;
	case KVM_EXIT_IOAPIC_EOI:
		report_count(sh->report, REPORT_EOI);
		sh->eoi(sh->ctx, v->run->eoi.vector);
		break;
	case KVM_EXIT_INTR:
		report_count(sh->report, REPORT_INTR);
		break;
	case KVM_EXIT_SHUTDOWN:
		report_count(sh->report, REPORT_OTHER);
		end(v, MACHINE_TRIPLE_FAULT, NULL);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		report_count(sh->report, REPORT_OTHER);
		do_event(v);
		break;
	default:
		report_count(sh->report, REPORT_OTHER);
		end_failed(v);
		break;
	}
}

static void run_failed(struct vcpu *v, int err)
{
	char msg[160];

	if (err == EFAULT)
		(void)snprintf(msg, sizeof(msg),
			       "memory behind the guest is gone: a file that is mapped into it "
			       "was cut off, or the host is out of memory");
	else
		(void)snprintf(msg, sizeof(msg), "KVM_RUN: %s", strerrordesc_np(err));
	end(v, MACHINE_FAILED, msg);
}

/* Intel SDM 3, 8.10: who halts with interrupts off wakes of NMI, SMI and INIT only. */
#define RFLAGS_IF (1ull << 9)

bool vcpu_halted(const struct vcpu *v)
{
	struct kvm_vcpu_events ev;
	struct kvm_mp_state mp;
	struct kvm_regs regs;

	if (kvm_call(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return false;
	/* Not started yet, or stopped by another processor. */
	if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return true;
	if (mp.mp_state != KVM_MP_STATE_HALTED || kvm_call(v->fd, KVM_GET_REGS, &regs) < 0 ||
	    kvm_call(v->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return false;
	return !(regs.rflags & RFLAGS_IF) && !ev.nmi.pending && !ev.nmi.injected &&
	       !ev.smi.pending && !ev.exception.injected && !ev.exception.pending &&
	       !ev.interrupt.injected;
}

static int run_once(struct vcpu *v)
{
	int rc;

	atomic_store_explicit(&v->inside, true, memory_order_relaxed);
	rc = ioctl(v->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	atomic_store_explicit(&v->inside, false, memory_order_relaxed);
	return rc;
}

/*
 * Finishes the access that the last exit was about, without letting the guest go on (KVM's api.rst
 * at KVM_RUN); what is left is a state that could be saved. True once nothing is open: an access
 * in several parts comes back for each.
 */
static bool settle(struct vcpu *v)
{
	int rc;

	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	rc = run_once(v);
	if (rc == 0)
		handle_exit(v);
	else if (rc != -EINTR && rc != -EAGAIN)
		run_failed(v, -rc);
	return rc == -EINTR || rc == -EAGAIN;
}

/*
 * Has the loop asked for something? It asks for one at a time: whoever sees that it has to park while
 * the others are called together sees the call, too, because that one came first.
 */
static bool obey(struct vcpu *v)
{
	bool paused = atomic_load(&v->sh->paused);

	if (atomic_load(&v->sh->called))
		v->sh->muster(v->sh->ctx, v);
	else if (!paused)
		return false;
	else if (settle(v))
		v->sh->park(v->sh->ctx, v);
	return true;
}

/* ---- the gate ------------------------------------------------------------------------------- */

static void gate_pass(struct vcpu_shared *sh)
{
	struct err err = {0};
	int rc = sh->init ? sh->init(sh->init_arg, &err) : 0;

	(void)pthread_mutex_lock(&sh->gate_lock);
	if (rc < 0 && !sh->init_err.code)
		sh->init_err = err;
	sh->arrived++;
	(void)pthread_cond_broadcast(&sh->gate_moved);
	while (!sh->open)
		(void)pthread_cond_wait(&sh->gate_moved, &sh->gate_lock);
	(void)pthread_mutex_unlock(&sh->gate_lock);
}

int vcpu_gate_await(struct vcpu_shared *sh, unsigned cnt, struct err *e)
{
	int rc;

	(void)pthread_mutex_lock(&sh->gate_lock);
	while (sh->arrived < cnt)
		(void)pthread_cond_wait(&sh->gate_moved, &sh->gate_lock);
	rc = sh->init_err.code;
	if (rc < 0)
		err_set(e, rc, "%s", sh->init_err.msg);
	(void)pthread_mutex_unlock(&sh->gate_lock);
	return rc;
}

void vcpu_gate_open(struct vcpu_shared *sh)
{
	(void)pthread_mutex_lock(&sh->gate_lock);
	sh->open = true;
	(void)pthread_cond_broadcast(&sh->gate_moved);
	(void)pthread_mutex_unlock(&sh->gate_lock);
}

/* ---- the thread ----------------------------------------------------------------------------- */

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	char name[16];
	sigset_t set;

	(void)snprintf(name, sizeof(name), "vcpu/%u", v->index);
	(void)pthread_setname_np(pthread_self(), name);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, VCPU_SIGNAL);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	if (v->sh->gated)
		gate_pass(v->sh);
	if (v->index == 0)
		report_stamp(v->sh->report, PHASE_RUN);
	while (!atomic_load(&v->sh->stop)) {
		int rc;

		if (obey(v))
			continue;
		rc = run_once(v);
		if (rc == 0) {
			handle_exit(v);
		} else if (rc == -EINTR || rc == -EAGAIN) {
			/* EAGAIN: a processor that waited for its start-up got it. */
			report_count(v->sh->report, REPORT_INTR);
			/* Cleared before the flags are looked at, set after they are. */
			__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		} else {
			run_failed(v, -rc);
		}
	}
	v->sh->left(v->sh->ctx);
	return NULL;
}

int vcpu_start(struct vcpu *v, struct err *e)
{
	int rc = thread_start(&v->thread, STACK_SIZE, vcpu_main, v);

	if (rc < 0)
		return err_sys(e, rc, "starting the thread of vCPU %u", v->index);
	v->started = true;
	return 0;
}

void vcpu_kick(struct vcpu *v)
{
	if (!v->started)
		return;
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELEASE);
	(void)pthread_kill(v->thread, VCPU_SIGNAL);
}

void vcpu_free(struct vcpu *v)
{
	if (v->started)
		(void)pthread_join(v->thread, NULL);
	v->started = false;
	if (v->run)
		(void)munmap(v->run, v->sh->vm->run_size);
	v->run = NULL;
	fd_close(&v->stats_fd);
	fd_close(&v->fd);
}
