/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPUID model. See cpuid_x86.h; leaves: Intel SDM 2A, CPUID, and AMD APM 3, appendix E.
 */
#include "vmm/cpuid_x86.h"

#include <linux/kvm_para.h>
#include <string.h>

#include "base/compiler.h"

#define L1_ECX_MONITOR	    (1u << 3)
#define L1_ECX_X2APIC	    (1u << 21)
#define L1_ECX_TSC_DEADLINE (1u << 24)
#define L1_ECX_HYPERVISOR   (1u << 31)
#define L1_EDX_HTT	    (1u << 28)

/* Topology levels of leaf 0xb. */
#define LEVEL_NONE   0u
#define LEVEL_THREAD 1u
#define LEVEL_CORE   2u

static const struct kvm_cpuid_entry2 *look(const struct cpuid *c, uint32_t fn, uint32_t idx)
{
	for (unsigned i = 0; i < c->nent; i++) {
		if (c->entry[i].function == fn && c->entry[i].index == idx)
			return &c->entry[i];
	}
	return NULL;
}

static struct kvm_cpuid_entry2 *find(struct cpuid *c, uint32_t fn, uint32_t idx)
{
	const struct kvm_cpuid_entry2 *e = look(c, fn, idx);

	return e ? &c->entry[e - c->entry] : NULL;
}

static void drop(struct cpuid *c, uint32_t fn)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->nent; i++) {
		if (c->entry[i].function != fn)
			c->entry[n++] = c->entry[i];
	}
	c->nent = n;
}

static void add(struct cpuid *c, uint32_t fn, uint32_t idx)
{
	if (c->nent == CPUID_ENTRIES_MAX)
		return;
	c->entry[c->nent++] = (struct kvm_cpuid_entry2){
	    .function = fn, .index = idx, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
}

void cpuid_model(struct cpuid *c, bool tsc_deadline)
{
	struct kvm_cpuid_entry2 *l = find(c, 1, 0);
	const struct kvm_cpuid_entry2 *zero = find(c, 0, 0);
	uint32_t max_basic = zero ? zero->eax : 0;

	if (l) {
		l->ecx &= ~(L1_ECX_MONITOR | L1_ECX_TSC_DEADLINE);
		l->ecx |= L1_ECX_HYPERVISOR | L1_ECX_X2APIC;
		if (tsc_deadline)
			l->ecx |= L1_ECX_TSC_DEADLINE;
	}
	drop(c, 0x1f);
	drop(c, 0xb);
	if (max_basic >= 0xb) {
		for (uint32_t i = 0; i < 3; i++)
			add(c, 0xb, i);
	}
}

int cpuid_query(struct cpuid *c, const struct vm *vm, struct err *e)
{
	int rc;

	c->nent = CPUID_ENTRIES_MAX;
	c->padding = 0;
	rc = kvm_call(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, (struct kvm_cpuid2 *)c);
	if (rc < 0)
		return err_sys(e, rc, "KVM_GET_SUPPORTED_CPUID");
	rc = kvm_call_int(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER);
	cpuid_model(c, rc > 0);
	return 0;
}

/* The leaves whose registers are sets of features: Intel SDM 2A, AMD APM 3, Linux' kvm/cpuid.rst. */
static const struct {
	uint32_t fn, idx;
	bool eax, ebx, ecx, edx;
} features[] = {
    {1, 0, false, false, true, true},		{7, 0, false, true, true, true},
    {7, 1, true, false, false, false},		{0xd, 0, true, false, false, false},
    {0xd, 1, true, false, false, false},	{KVM_CPUID_FEATURES, 0, true, false, false, false},
    {0x80000001, 0, false, false, true, true},	{0x80000007, 0, false, false, false, true},
    {0x80000008, 0, false, true, false, false},
};
/* Of leaf 1: set by the guest itself, or by how many vCPUs there are. */
#define L1_ECX_OSXSAVE (1u << 27)

bool cpuid_covers(const struct cpuid *host, const struct cpuid *was, uint32_t *leaf)
{
	static const struct kvm_cpuid_entry2 none;

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		const struct kvm_cpuid_entry2 *w = look(was, features[i].fn, features[i].idx);
		const struct kvm_cpuid_entry2 *h = look(host, features[i].fn, features[i].idx);
		bool one = features[i].fn == 1;

		if (!w)
			continue;
		h = h ? h : &none;
		*leaf = features[i].fn;
		if ((features[i].eax && (w->eax & ~h->eax)) ||
		    (features[i].ebx && (w->ebx & ~h->ebx)) ||
		    (features[i].ecx && (w->ecx & ~h->ecx & ~(one ? L1_ECX_OSXSAVE : 0))) ||
		    (features[i].edx && (w->edx & ~h->edx & ~(one ? L1_EDX_HTT : 0))))
			return false;
	}
	return true;
}

/* Bits needed to number @n things. */
static unsigned id_bits(unsigned n)
{
	unsigned bits = 0;

	while (bits < 31 && (1u << bits) < n)
		bits++;
	return bits;
}

/* Leaf 4 (Intel) and 0x8000001d (AMD): who shares a cache. Level 3 is everybody's, the others are a
 * core's. */
static void cache_sharing(struct kvm_cpuid_entry2 *l, unsigned cpus)
{
	unsigned level = (l->eax >> 5) & 7, sharing = level >= 3 ? (1u << id_bits(cpus)) - 1 : 0;

	if (!(l->eax & 0x1f)) /* no more caches */
		return;
	l->eax &= ~(0xfffu << 14);
	l->eax |= (sharing & 0xfff) << 14;
	if (l->function == 4) {
		l->eax &= ~(0x3fu << 26);
		l->eax |= (((1u << id_bits(cpus)) - 1) & 0x3f) << 26;
	}
}

static void topology_leaf(struct kvm_cpuid_entry2 *l, unsigned index, unsigned cpus)
{
	static const uint32_t type[] = {LEVEL_THREAD, LEVEL_CORE, LEVEL_NONE};

	l->edx = index;
	l->ecx = l->index | (l->index < 3 ? type[l->index] : LEVEL_NONE) << 8;
	l->eax = l->index == 1 ? id_bits(cpus) : 0;
	l->ebx = l->index == 0 ? 1 : l->index == 1 ? cpus : 0;
}

void cpuid_for_vcpu(struct cpuid *c, unsigned index, unsigned cpus)
{
	for (unsigned i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *l = &c->entry[i];

		switch (l->function) {
		case 1:
			l->ebx = (l->ebx & 0xffffu) | cpus << 16 | index << 24;
			if (cpus > 1)
				l->edx |= L1_EDX_HTT;
			else
				l->edx &= ~L1_EDX_HTT;
			break;
		case 4:
		case 0x8000001d:
			cache_sharing(l, cpus);
			break;
		case 0xb:
			topology_leaf(l, index, cpus);
			break;
		case 0x80000008: /* ApicIdSize, NC */
			l->ecx = (l->ecx & ~0xf0ffu) | id_bits(cpus) << 12 | (cpus - 1);
			break;
		case 0x8000001e: /* extended APIC id, core id with one thread, node 0 of 1 */
			l->eax = index;
			l->ebx = index & 0xff;
			l->ecx = 0;
			break;
		default:
			break;
		}
	}
}
