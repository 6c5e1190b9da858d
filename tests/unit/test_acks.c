/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acks.c on a ring that the test fills as KVM does; the interrupt's cause that a kept acknowledgement must not take.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fake_guest.h"
#include "vmm/acks.h"

#define LEN 7u

static struct acks a;
static struct kvm_coalesced_mmio_ring *ring;
static struct {
	uint64_t gpa;
	uint32_t v;
	unsigned len;
} got[64];
static unsigned got_cnt;

static void take_one(void *ctx, uint64_t gpa, const void *data, unsigned len)
{
	cr_assert_eq(ctx, &a);
	cr_assert_leq(len, 8);
	memcpy(&got[got_cnt].v, data, sizeof(got[0].v));
	got[got_cnt].gpa = gpa;
	got[got_cnt++].len = len;
}

static void begin(void)
{
	ring = calloc(1, sizeof(*ring) + LEN * sizeof(ring->coalesced_mmio[0]));
	cr_assert_not_null(ring);
	acks_init(&a, NULL, take_one, &a);
	a.ring = ring;
	a.len = LEN;
}

static void write_one(uint64_t gpa, uint32_t v, uint32_t len)
{
	struct kvm_coalesced_mmio *m = &ring->coalesced_mmio[ring->last];

	m->phys_addr = gpa;
	m->len = len;
	memcpy(m->data, &v, sizeof(v));
	__atomic_store_n(&ring->last, (ring->last + 1) % LEN, __ATOMIC_RELEASE);
}

Test(acks, nothing_is_kept_without_a_ring)
{
	acks_init(&a, NULL, take_one, &a);
	acks_take(&a);
	cr_assert_eq(got_cnt, 0);
}

Test(acks, come_in_their_order_around_the_ring)
{
	begin();
	acks_take(&a);
	cr_assert_eq(got_cnt, 0);
	for (uint32_t i = 0; i < 60; i++) {
		write_one(0xd0000064 + 0x1000ull * i, i, 4);
		if (i % 3 == 2)
			acks_take(&a);
	}
	cr_assert_eq(got_cnt, 60);
	for (uint32_t i = 0; i < 60; i++) {
		cr_assert_eq(got[i].gpa, 0xd0000064 + 0x1000ull * i);
		cr_assert_eq(got[i].v, i);
		cr_assert_eq(got[i].len, 4);
	}
	cr_assert_eq(ring->first, ring->last);
	free(ring);
}

Test(acks, lengths_are_those_of_an_access)
{
	begin();
	write_one(0xd0000064, 1, 0);
	write_one(0xd0000064, 1, 9);
	write_one(0xd0000064, 1, UINT32_MAX);
	write_one(0xd0000065, 2, 2);
	acks_take(&a);
	cr_assert_eq(got_cnt, 1);
	cr_assert_eq(got[0].v, 2);
	free(ring);
}

/* ---- with a device ------------------------------------------------------------------------------- */

static struct vmmio slot;
static bool kept;

static void flush(void *ctx)
{
	const uint32_t all = htole32(3);

	(void)ctx;
	if (kept)
		vmmio_write(&slot, VMMIO_ACK, &all, sizeof(all));
	kept = false;
}

static uint32_t isr(void)
{
	uint32_t v;

	vmmio_read(&slot, 0x60, &v, sizeof(v));
	return le32toh(v);
}

Test(acks, one_that_was_kept_does_not_take_a_later_cause)
{
	static const struct vmmio_ops slot_ops = {.flush = flush};
	static const struct virtio_ops ops = {.name = "acks", .id = 42};
	static const uint16_t max[] = {8};
	struct virtio_dev dev;
	struct fg *g = fg_new(1 << 16, 0);

	cr_assert_eq(virtio_init(&dev, &ops, "acks0", 0, 1, max, 0), 0);
	vmmio_init(&slot, 0, &slot_ops, NULL);
	vmmio_plug(&slot, &dev, fg_mem(g), NULL);
	virtio_irq(&dev, VIRTIO_IRQ_VQ);
	cr_assert_eq(isr(), 1);
	kept = true; /* of that cause */
	virtio_irq(&dev, VIRTIO_IRQ_CONFIG);
	cr_assert_eq(isr(), 2, "what was acknowledged is gone, what came after is there");
	virtio_fini(&dev);
	fg_free(g);
}
