/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual CPU's state as records (virtio/snap.h): what KVM_GET_* tells of one that stands still (pause.h: no
 * access is open), and back into one that has its CPUID and has not run. KVM checks what it is given;
 * nothing here harms the host, whatever the records say. Not while the vCPU is in KVM_RUN; any thread.
 */
#ifndef HUSK_VMM_VCPU_SNAP_H
#define HUSK_VMM_VCPU_SNAP_H

#include "base/buf.h"
#include "base/err.h"
#include "virtio/snap.h"
#include "vmm/vcpu.h"

int vcpu_save(const struct vcpu *v, struct buf *to, struct err *e) MUST_CHECK;
int vcpu_load(const struct vcpu *v, struct snap_rd *r, struct err *e) MUST_CHECK;

/* Pure part: the registers that are saved of the @n that KVM lists in @idx, in the order in which they have to
 * come back. Returns how many stay. */
unsigned vcpu_saved_msrs(uint32_t *idx, unsigned n);

#endif
