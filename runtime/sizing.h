/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How large a container's VM is: from its limits, the administrator's configuration, annotations
 * that the latter allows, and what the host has. Arithmetic only, no state, any thread.
 *
 * Guest memory is the container's limit and what guest kernel and agent need beside it, so that the
 * limit, which holds inside the guest, can be used up. CPUs are the quota's, rounded up.
 */
#ifndef HUSK_RUNTIME_SIZING_H
#define HUSK_RUNTIME_SIZING_H

#include <stdint.h>
#include "base/err.h"
#include "runtime/annot.h"
#include "runtime/config.h"
#include "runtime/spec.h"

struct sizing {
	uint64_t memory;     /* of the guest at boot: bytes, a multiple of 1 MiB */
	uint64_t memory_max; /* to which `husk update` may let it grow */
	uint64_t guest;	     /* of it, what is not the container's: bytes */
	uint64_t host;	     /* overhead of the VMM beside guest memory: bytes */
	unsigned cpus;	     /* at boot */
	unsigned cpus_max;
};

struct sizing_host {
	uint64_t memory; /* bytes */
	unsigned cpus;	 /* online */
};

void sizing_of_host(struct sizing_host *ret);

/* -EINVAL: an annotation asks for more than there may be, or linux.resources.cpu.cpus is no list. */
int sizing_of(struct sizing *ret, const struct spec *s, const struct annot *a,
	      const struct config *c, const struct sizing_host *h, struct err *e) MUST_CHECK;

/*
 * Guest memory for a container limited to @limit bytes (<= 0 = not limited): for boot and update.
 * Between the configuration's bounds and at most sizing.memory_max.
 */
uint64_t sizing_memory(int64_t limit, const struct config *c, uint64_t max);

/* How many CPUs a list such as "0-3,8" names; -EINVAL for what is none. */
int sizing_cpu_list(const char *list, unsigned *ret) MUST_CHECK;

#endif
