/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's own statistics (KVM_GET_STATS_FD, Linux 5.14): counters of the VM and of its vCPUs by name. Loop
 * thread.
 *
 * The descriptor of a vCPU has to be made before it runs: KVM does no request of a vCPU that is in KVM_RUN, and
 * an idle guest stays there. Reading waits for nobody.
 */
#ifndef HUSK_VMM_KVMSTATS_H
#define HUSK_VMM_KVMSTATS_H

#include <stdint.h>
#include "base/compiler.h"

/* The statistics of the VM or vCPU behind @of: a descriptor, or -errno: a kernel without them. */
int kvmstats_open(int of) MUST_CHECK;
/* Calls @tell for each counter of @fd that has one value (histograms are left out). 0 or -errno. */
int kvmstats_read(int fd, void (*tell)(void *ctx, const char *name, uint64_t v),
		  void *ctx) MUST_CHECK;

#endif
