/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUID says in the guest: the host's through KVM, with the topology of this machine: one
 * package, one thread a core, APIC ids 0, 1, 2 ... One query of KVM for all vCPUs.
 */
#ifndef HUSK_VMM_CPUID_X86_H
#define HUSK_VMM_CPUID_X86_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "vmm/vm.h"

#define CPUID_ENTRIES_MAX 256u

/* As struct kvm_cpuid2, which ends in an array without a length. */
struct cpuid {
	uint32_t nent, padding;
	struct kvm_cpuid_entry2 entry[CPUID_ENTRIES_MAX];
};
_Static_assert(offsetof(struct cpuid, nent) == offsetof(struct kvm_cpuid2, nent) &&
		   offsetof(struct cpuid, entry) == offsetof(struct kvm_cpuid2, entries),
	       "struct kvm_cpuid2");

/* The model that all vCPUs share; kvm_cap_tsc_deadline: KVM_CAP_TSC_DEADLINE_TIMER is there. */
int cpuid_query(struct cpuid *c, const struct vm *vm, struct err *e) MUST_CHECK;
/* Pure part of the above: removes what this machine does not have, adds the topology leaves. */
void cpuid_model(struct cpuid *c, bool tsc_deadline);
/*
 * Does @host have what a guest has been told by @was? Only features count, which programs look for once and
 * use from then on. Else *@leaf is one where something is missing.
 */
bool cpuid_covers(const struct cpuid *host, const struct cpuid *was, uint32_t *leaf) MUST_CHECK;
/* Makes @c that of vCPU @index of @cpus. */
void cpuid_for_vcpu(struct cpuid *c, unsigned index, unsigned cpus);

#endif
