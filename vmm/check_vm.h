/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM of `vmm check`: one vCPU, 128 KiB, put back to a known state before every run. Private to
 * check_vm.c (the VM) and check_stages.c (the stages).
 */
#ifndef HUSK_VMM_CHECK_VM_H
#define HUSK_VMM_CHECK_VM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "base/err.h"
#include "vmm/check.h"
#include "vmm/check_guest.h"

#define CHECK_CPUID_MAX 256

struct check_vm {
	int kvm_fd, vm_fd, vcpu_fd;
	uint8_t *ram; /* CG_RAM_LEN at gpa 0 */
	uint32_t *ro; /* one page at CG_RO_GPA; NULL = no read-only slots here */
	struct kvm_run *run;
	size_t run_len;
	bool irqchip; /* split irqchip: the LAPIC is there */
	struct kvm_cpuid2 *cpuid;
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
	bool watchdog;
	timer_t timer;
	struct sigaction old_action;
	sigset_t old_mask;
	struct check_cost create_vm, create_vcpu;
};

/* How a run ended. */
struct check_end {
	bool ok;       /* CG_PORT_DONE with 0 */
	unsigned mmio; /* accesses that left KVM_RUN as MMIO */
	uint64_t mmio_write;
	uint64_t ns;	 /* on the wall */
	uint64_t cpu_ns; /* of them, what the thread and its guest have had of the CPUs */
	bool timed_out;
	bool elsewhere;	  /* found by the host afterwards: the guest's step is not the place */
	char reason[128]; /* unless ok: what happened, without where */
};

/*
 * Makes the VM, fills @e and returns -errno when that fails. @measure: makes and closes some VMs
 * first for create_vm and create_vcpu. check_vm_close() in any case, on a zeroed or opened @vm.
 */
int check_vm_open(struct check_vm *vm, const char *dev, int kvm_fd, bool measure, struct err *e);
void check_vm_close(struct check_vm *vm);

/*
 * Runs the payload's @entry (CG_LONG_MODE…) with @param until it answers, at most @limit_ms of
 * CPU time, or CHECK_STARVED times as long while it waits for an interrupt or for a CPU. @mark is called at every CG_PORT_MARK and may be NULL; less than 0 ends the run.
 */
void check_vm_run(struct check_vm *vm, unsigned entry, uint64_t param, unsigned limit_ms,
		  int (*mark)(struct check_vm *vm), struct check_end *end);

/* Where the last run was: the stage's own numbers. */
uint32_t check_vm_step(const struct check_vm *vm);

/* Whether the host offers a CPUID bit: @reg 0 = EAX … 3 = EDX. */
bool check_vm_cpuid(const struct check_vm *vm, uint32_t leaf, unsigned reg, unsigned bit);

/* Sorts @v. */
struct check_cost check_cost_of(uint64_t *v, unsigned n);

#endif
