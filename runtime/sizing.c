/* SPDX-License-Identifier: Apache-2.0 */
/* The size of a VM. See sizing.h. */
#include "runtime/sizing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/cpulist.h"
#include "vmm/machine.h"

#define MIB	   (UINT64_C(1) << 20)
#define SHARES_CPU 1024u /* cpu.shares of one CPU, as Kubernetes counts */

void sizing_of_host(struct sizing_host *ret)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE),
	     cpus = sysconf(_SC_NPROCESSORS_ONLN);

	ret->memory = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 1024 * MIB;
	ret->cpus = (unsigned)MAX(cpus, 1);
}

static void count(void *arg, unsigned first, unsigned last)
{
	unsigned *cnt = arg;

	*cnt += last - first + 1;
}

int sizing_cpu_list(const char *list, unsigned *ret)
{
	unsigned cnt = 0;
	int rc = cpulist_parse(list, count, &cnt);

	if (rc == 0)
		*ret = cnt;
	return rc;
}

uint64_t sizing_memory(int64_t limit, const struct config *c, uint64_t max)
{
	uint64_t want = c->memory.standard;

	/* No limit that a guest could have: docker's and the kernel's "unlimited" are near 2^63. */
	if (limit > 0 && __builtin_add_overflow((uint64_t)limit, c->memory.guest, &want))
		want = max;
	want = MIN(MAX(want, c->memory.min), max);
	return MIN(ALIGN_UP(want, MIB), ALIGN_DOWN(max, MIB));
}

/* Quota and period in microseconds; 0 = no quota. */
static uint64_t cpus_of(int64_t quota, uint64_t period)
{
	if (quota <= 0 || period == 0)
		return 0;
	return (uint64_t)quota / period + ((uint64_t)quota % period != 0);
}

static int size_cpus(struct sizing *r, const struct spec *s, const struct annot *a,
		     const struct config *c, const struct sizing_host *h, struct err *e)
{
	const char *list = json_str(s->root, "linux.resources.cpu.cpus", "");
	uint64_t want = cpus_of(s->cpu_quota, (uint64_t)s->cpu_period);
	unsigned max =
	    MIN(MIN(h->cpus, MACHINE_CPUS_MAX), c->vcpus.max ? c->vcpus.max : UINT32_MAX);
	unsigned set = 0;

	if (*list && sizing_cpu_list(list, &set) < 0)
		return err_set(e, -EINVAL,
			       "config.json: linux.resources.cpu.cpus: '%.64s' is no list of CPUs",
			       list);
	if (!want)
		want = cpus_of(a->pod_quota, a->pod_period ? a->pod_period : 100000);
	if (!want && a->pod_shares > 2) /* 2: what Kubernetes gives to those who asked for none */
		want = a->pod_shares / SHARES_CPU + (a->pod_shares % SHARES_CPU != 0);
	if (!want)
		want = set ? set : c->vcpus.standard;
	if (set) /* more would only wait for each other */
		want = MIN(want, set);
	r->cpus_max = max;
	r->cpus = (unsigned)MAX(1, MIN(want, max));
	if (a->vcpus > max)
		return err_set(e, -EINVAL,
			       "annotation " ANNOT_PREFIX
			       "vcpus: %u is more than %u, the most that "
			       "host and configuration allow",
			       a->vcpus, max);
	if (a->vcpus)
		r->cpus = a->vcpus;
	if (s->vm_cpus > max)
		return err_set(e, -EINVAL,
			       "config.json: vm.hwConfig.vcpus: %u is more than %u, the most that "
			       "host and configuration allow",
			       s->vm_cpus, max);
	if (s->vm_cpus)
		r->cpus = s->vm_cpus;
	return 0;
}

static int in_range(const char *what, uint64_t v, uint64_t min, uint64_t max, struct err *e)
{
	if (v >= min && v <= max)
		return 0;
	return err_set(e, -EINVAL,
		       "%s: %llu MiB is not from %llu to %llu MiB, which host and configuration "
		       "allow",
		       what, (unsigned long long)(v / MIB), (unsigned long long)(min / MIB),
		       (unsigned long long)(max / MIB));
}

int sizing_of(struct sizing *ret, const struct spec *s, const struct annot *a,
	      const struct config *c, const struct sizing_host *h, struct err *e)
{
	uint64_t max = c->memory.max ? c->memory.max : MAX(h->memory, c->memory.standard);
	int64_t limit = s->memory_limit > 0 ? s->memory_limit : a->pod_memory;
	int rc;

	*ret = (struct sizing){
	    .memory_max = ALIGN_DOWN(max, MIB), .guest = c->memory.guest, .host = c->memory.host};
	ret->memory = sizing_memory(limit, c, max);
	if (a->memory) {
		rc =
		    in_range("annotation " ANNOT_PREFIX "memory", a->memory, c->memory.min, max, e);
		if (rc < 0)
			return rc;
		ret->memory = ALIGN_UP(a->memory, MIB);
	}
	if (s->vm_memory) {
		rc = in_range("config.json: vm.hwConfig.memory", s->vm_memory, c->memory.min, max,
			      e);
		if (rc < 0)
			return rc;
		ret->memory = ALIGN_DOWN(s->vm_memory, MIB);
	}
	ret->memory_max = MAX(ret->memory_max, ret->memory);
	return size_cpus(ret, s, a, c, h, e);
}
