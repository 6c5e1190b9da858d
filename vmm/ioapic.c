/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IO-APIC in user space. See ioapic.h; register layout: Intel 82093AA data sheet, section 3.
 */
#include "vmm/ioapic.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"

#define REG_SELECT 0x00u
#define REG_WINDOW 0x10u

#define IDX_ID	   0x00u
#define IDX_VER	   0x01u
#define IDX_ARB	   0x02u
#define IDX_REDIR  0x10u

/* No EOI register of its own. The number of the last pin goes into bits 16 to 23. */
#define VERSION 0x11u

/* What a guest may write: all but delivery status and remote IRR, which are ours. */
#define ENTRY_RW  (~((1ull << 12) | IOAPIC_REMOTE_IRR) & 0xff0000000001ffffull)
#define ID_RW	  0x0f000000u
#define SELECT_RW 0xffu

void ioapic_init(struct ioapic *a, const struct ioapic_ops *ops, void *ctx)
{
	memset(a, 0, sizeof(*a));
	(void)pthread_mutex_init(&a->lock, NULL);
	a->ops = ops;
	a->ctx = ctx;
	a->pins = IOAPIC_PINS;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		a->entry[i] = IOAPIC_MASKED;
}

void ioapic_set_pins(struct ioapic *a, unsigned pins)
{
	BUG_ON(!pins || pins > IOAPIC_PINS);
	a->pins = pins;
}

void ioapic_fini(struct ioapic *a)
{
	(void)pthread_mutex_destroy(&a->lock);
}

/* MSI address and data (Intel SDM 3, 10.11) with the same fields in other places. */
void ioapic_message(uint64_t entry, uint64_t *addr, uint32_t *data)
{
	*addr =
	    0xfee00000ull | ((entry >> 56) & 0xff) << 12 | (entry & IOAPIC_LOGICAL ? 1u << 2 : 0);
	*data = (uint32_t)(entry & (IOAPIC_VECTOR | IOAPIC_DELIVERY));
	if (entry & IOAPIC_LEVEL)
		*data |= 1u << 15 | 1u << 14; /* level, asserted */
}

static void deliver(struct ioapic *a, unsigned pin)
{
	uint64_t addr;
	uint32_t data;

	ioapic_message(a->entry[pin], &addr, &data);
	a->delivered[pin]++;
	a->ops->deliver(a->ctx, addr, data);
}

/* Sends what @pin has pending and may send. */
static void update(struct ioapic *a, unsigned pin)
{
	uint64_t entry = a->entry[pin];
	uint32_t bit = 1u << pin;

	if (entry & IOAPIC_MASKED)
		return;
	if (entry & IOAPIC_LEVEL) {
		a->edges &= ~bit;
		if (!(a->levels & bit) || (entry & IOAPIC_REMOTE_IRR))
			return;
		a->entry[pin] |= IOAPIC_REMOTE_IRR;
		deliver(a, pin);
	} else if (a->edges & bit) {
		a->edges &= ~bit;
		deliver(a, pin);
	}
}

void ioapic_pulse(struct ioapic *a, unsigned pin)
{
	if (pin >= a->pins)
		return;
	(void)pthread_mutex_lock(&a->lock);
	a->edges |= 1u << pin;
	update(a, pin);
	(void)pthread_mutex_unlock(&a->lock);
}

void ioapic_set_level(struct ioapic *a, unsigned pin, bool up)
{
	uint32_t bit;

	if (pin >= a->pins)
		return;
	bit = 1u << pin;
	(void)pthread_mutex_lock(&a->lock);
	if (up && !(a->levels & bit))
		a->edges |= bit;
	if (up)
		a->levels |= bit;
	else
		a->levels &= ~bit;
	update(a, pin);
	(void)pthread_mutex_unlock(&a->lock);
}

void ioapic_eoi(struct ioapic *a, uint8_t vector)
{
	(void)pthread_mutex_lock(&a->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = a->entry[pin];

		if ((entry & IOAPIC_VECTOR) != vector || !(entry & IOAPIC_REMOTE_IRR))
			continue;
		a->entry[pin] &= ~IOAPIC_REMOTE_IRR;
		update(a, pin);
	}
	(void)pthread_mutex_unlock(&a->lock);
}

static uint32_t reg_read(const struct ioapic *a)
{
	uint32_t idx = a->select;

	if (idx == IDX_ID || idx == IDX_ARB)
		return a->id;
	if (idx == IDX_VER)
		return VERSION | (a->pins - 1) << 16;
	idx -= IDX_REDIR;
	if (idx >= 2 * a->pins)
		return 0;
	return (uint32_t)(a->entry[idx / 2] >> (idx % 2 ? 32 : 0));
}

static void entry_write(struct ioapic *a, uint32_t idx, uint32_t val)
{
	unsigned pin = idx / 2;
	uint64_t old = a->entry[pin], entry;

	if (idx % 2)
		entry = (old & 0xffffffffull) | (uint64_t)val << 32;
	else
		entry = (old & ~0xffffffffull) | val;
	entry = (entry & ENTRY_RW) | (old & IOAPIC_REMOTE_IRR);
	if (!(entry & IOAPIC_LEVEL))
		entry &= ~IOAPIC_REMOTE_IRR;
	a->entry[pin] = entry;
	/* Before delivery, or the first EOI could go unreported. */
	if (entry != old && ((entry | old) & IOAPIC_LEVEL) && a->ops->routes)
		a->ops->routes(a->ctx, a->entry);
	update(a, pin);
}

static void reg_write(struct ioapic *a, uint32_t val)
{
	uint32_t idx = a->select;

	if (idx == IDX_ID)
		a->id = val & ID_RW;
	idx -= IDX_REDIR;
	if (idx < 2 * a->pins)
		entry_write(a, idx, val);
}

void ioapic_read(struct ioapic *a, uint64_t off, void *buf, unsigned len)
{
	uint32_t val = 0;

	memset(buf, 0, len);
	if (len != sizeof(val))
		return;
	(void)pthread_mutex_lock(&a->lock);
	if (off == REG_SELECT)
		val = a->select;
	else if (off == REG_WINDOW)
		val = reg_read(a);
	(void)pthread_mutex_unlock(&a->lock);
	memcpy(buf, &val, sizeof(val));
}

void ioapic_write(struct ioapic *a, uint64_t off, const void *buf, unsigned len)
{
	uint32_t val;

	if (len != sizeof(val))
		return;
	memcpy(&val, buf, sizeof(val));
	(void)pthread_mutex_lock(&a->lock);
	if (off == REG_SELECT)
		a->select = val & SELECT_RW;
	else if (off == REG_WINDOW)
		reg_write(a, val);
	(void)pthread_mutex_unlock(&a->lock);
}

bool ioapic_has_nmi(struct ioapic *a)
{
	bool found = false;

	(void)pthread_mutex_lock(&a->lock);
	/* Delivery modes 0 and 1 are ordinary interrupts. */
	for (unsigned i = 0; i < a->pins; i++)
		found |= !(a->entry[i] & IOAPIC_MASKED) && (a->entry[i] & IOAPIC_DELIVERY) > 0x100;
	(void)pthread_mutex_unlock(&a->lock);
	return found;
}

/* ---- snapshots ----------------------------------------------------------------------------------- */

#define TAG_IOAPIC     SNAP_TAG('I', 'O', 'A', 'P')
#define IOAPIC_VERSION 1u

struct ioapic_wire {
	le32_t pins, select, id, edges, levels, zero;
	le64_t entry[IOAPIC_PINS];
};
_Static_assert(sizeof(struct ioapic_wire) == 24 + 8 * IOAPIC_PINS, "no padding");

int ioapic_save(struct ioapic *a, struct buf *to)
{
	struct ioapic_wire w = {0};

	(void)pthread_mutex_lock(&a->lock);
	w.pins = le32_of(a->pins);
	w.select = le32_of(a->select);
	w.id = le32_of(a->id);
	w.edges = le32_of(a->edges);
	w.levels = le32_of(a->levels);
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		w.entry[i] = le64_of(a->entry[i]);
	(void)pthread_mutex_unlock(&a->lock);
	return snap_put(to, TAG_IOAPIC, IOAPIC_VERSION, &w, sizeof(w));
}

/* What a guest could not have made is not taken. */
static bool wire_is_sane(const struct ioapic *a, const struct ioapic_wire *w)
{
	const uint32_t none = ~(uint32_t)((1ull << a->pins) - 1);

	if (le32_get(w->pins) != a->pins || (le32_get(w->select) & ~SELECT_RW) ||
	    (le32_get(w->id) & ~ID_RW) || (le32_get(w->edges) & none) ||
	    (le32_get(w->levels) & none) || le32_get(w->zero))
		return false;
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		uint64_t entry = le64_get(w->entry[i]);

		if ((entry & ~(ENTRY_RW | IOAPIC_REMOTE_IRR)) ||
		    ((entry & IOAPIC_REMOTE_IRR) && !(entry & IOAPIC_LEVEL)) ||
		    (i >= a->pins && entry != IOAPIC_MASKED))
			return false;
	}
	return true;
}

int ioapic_load(struct ioapic *a, struct snap_rd *r)
{
	struct ioapic_wire w;
	const uint8_t *p;
	size_t len;
	int rc = snap_get(r, TAG_IOAPIC, IOAPIC_VERSION, sizeof(w), &p, &len);

	if (rc < 0)
		return rc;
	memcpy(&w, p, sizeof(w));
	if (len != sizeof(w) || !wire_is_sane(a, &w))
		return -EPROTO;
	(void)pthread_mutex_lock(&a->lock);
	a->select = le32_get(w.select);
	a->id = le32_get(w.id);
	a->edges = le32_get(w.edges);
	a->levels = le32_get(w.levels);
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		a->entry[i] = le64_get(w.entry[i]);
	if (a->ops->routes)
		a->ops->routes(a->ctx, a->entry);
	(void)pthread_mutex_unlock(&a->lock);
	return 0;
}
