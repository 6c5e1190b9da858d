/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See acks.h. KVM writes entries and moves `last`; we move `first`, behind what has taken effect: who finds the ring
 * empty without the lock knows that nothing is on its way either.
 */
#include "vmm/acks.h"

#include <unistd.h>

#include "base/err.h"

void acks_init(struct acks *a, const struct vm *vm,
	       void (*write)(void *ctx, uint64_t gpa, const void *data, unsigned len), void *ctx)
{
	*a = (struct acks){.vm = vm, .write = write, .ctx = ctx};
	(void)pthread_mutex_init(&a->lock, NULL);
}

static void zone(const struct acks *a, unsigned long what, uint64_t gpa)
{
	struct kvm_coalesced_mmio_zone z = {.addr = gpa, .size = sizeof(uint32_t)};

	/* Without: each write is an MMIO exit. */
	(void)!ioctl(a->vm->fd, what, &z);
}

void acks_add(const struct acks *a, uint64_t gpa)
{
	zone(a, KVM_REGISTER_COALESCED_MMIO, gpa);
}

void acks_del(struct acks *a, uint64_t gpa)
{
	zone(a, KVM_UNREGISTER_COALESCED_MMIO, gpa);
	acks_take(a);
}

void acks_begin(struct acks *a, struct kvm_run *run)
{
	int page = kvm_call_int(a->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	long size = sysconf(_SC_PAGESIZE);

	if (page <= 0)
		return;
	a->len = (uint32_t)(((size_t)size - sizeof(*a->ring)) / sizeof(a->ring->coalesced_mmio[0]));
	a->ring = (void *)((uint8_t *)run + page * size);
}

void acks_end(struct acks *a)
{
	a->ring = NULL;
}

void acks_take(struct acks *a)
{
	struct kvm_coalesced_mmio_ring *ring = a->ring;
	uint32_t first;

	if (!ring)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) ==
	    __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		return;
	(void)pthread_mutex_lock(&a->lock);
	first = ring->first;
	while (first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
		const struct kvm_coalesced_mmio *m = &ring->coalesced_mmio[first];

		if (m->len && m->len <= sizeof(m->data))
			a->write(a->ctx, m->phys_addr, m->data, m->len);
		first = (first + 1) % a->len;
		__atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
	}
	(void)pthread_mutex_unlock(&a->lock);
}
