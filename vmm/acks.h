/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What drivers write to InterruptACK of their virtio slots, kept by KVM until somebody asks (coalesced MMIO,
 * Documentation/virt/kvm/api.rst, 4.116): the write costs the guest an exit to the kernel, but no return of KVM_RUN.
 *
 * That is as good as at once where acks_take() comes before
 *
 * - a cause is set that the guest is told of: what it had acknowledged before is gone by then, or it acknowledged so
 *   late that it will see what the cause is about. The caller stores that first; acks_take() is a full
 *   barrier between the two, and on the guest's side the write itself is.
 * - any other register is written, so that their order stays what it was
 * - the state is saved
 *
 * A guest that reads InterruptStatus without having been interrupted may find bits that it acknowledged.
 */
#ifndef HUSK_VMM_ACKS_H
#define HUSK_VMM_ACKS_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include "vmm/vm.h"

struct acks {
	const struct vm *vm;
	/* What was written: @len bytes, 1 to 8, at @gpa. Any thread, one at a time; does not call back here. */
	void (*write)(void *ctx, uint64_t gpa, const void *data, unsigned len);
	void *ctx;
	pthread_mutex_t lock;		      /* of those who take */
	struct kvm_coalesced_mmio_ring *ring; /* NULL: KVM keeps none */
	uint32_t len;			      /* entries of the ring */
};

/* Before any other call here. */
void acks_init(struct acks *a, const struct vm *vm,
	       void (*write)(void *ctx, uint64_t gpa, const void *data, unsigned len), void *ctx);
/* From now on, of a VM: the word at @gpa is one of those registers. Without acks_begin() nothing is kept there. */
void acks_add(const struct acks *a, uint64_t gpa);
/* No more of it, and what is kept has been taken. Loop thread. */
void acks_del(struct acks *a, uint64_t gpa);
/* Where @run, the shared page of any vCPU, lies. Before the guest runs; until acks_end(). */
void acks_begin(struct acks *a, struct kvm_run *run);
void acks_end(struct acks *a);
/* Hands over what has been kept. Any thread, without locks of devices. */
void acks_take(struct acks *a);

#endif
