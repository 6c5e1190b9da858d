/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MP table (Intel MultiProcessor Specification 1.4), for kernels without a device tree. See
 * hw.h.
 *
 * Floating pointer first, then the configuration table. One ISA bus whose interrupt n is pin n:
 * Linux then uses the pin's number as the interrupt's number, which virtio_mmio.device= wants.
 */
#include "vmm/hw.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "virtio/mmio.h"
#include "vmm/memmap.h"

struct mp_floating {
	char sig[4]; /* "_MP_" */
	uint32_t table;
	uint8_t length, rev, checksum, feature[5];
};
struct mp_table {
	char sig[4]; /* "PCMP" */
	uint16_t length;
	uint8_t rev, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_len, entries;
	uint32_t lapic;
	uint16_t ext_len;
	uint8_t ext_checksum, reserved;
};
struct mp_cpu {
	uint8_t type, apic_id, apic_ver, flags;
	uint32_t signature, features;
	uint32_t reserved[2];
};
struct mp_bus {
	uint8_t type, id;
	char name[6];
};
struct mp_ioapic {
	uint8_t type, id, ver, flags;
	uint32_t addr;
};
struct mp_irq { /* also a local one */
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, bus_irq, apic, pin;
};
_Static_assert(sizeof(struct mp_floating) == 16, "floating pointer");
_Static_assert(sizeof(struct mp_table) == 44, "table header");
_Static_assert(sizeof(struct mp_cpu) == 20, "processor");
_Static_assert(sizeof(struct mp_bus) == 8, "bus");
_Static_assert(sizeof(struct mp_ioapic) == 8, "IO-APIC");
_Static_assert(sizeof(struct mp_irq) == 8, "interrupt");

enum { MP_CPU = 0, MP_BUS = 1, MP_IOAPIC = 2, MP_IRQ = 3, MP_LOCAL = 4 };
#define CPU_ENABLED   1u
#define CPU_BOOT      2u
#define IRQ_INT	      0u
#define IRQ_NMI	      1u
#define IRQ_EXTINT    3u
#define IRQ_HIGH_EDGE 0x5u /* polarity 01: active high; trigger 01: edge */
#define APIC_VER      0x14u
#define ALL_APICS     0xffu
#define NO_APIC	      0xfeu /* what no machine of ours has */
#define NO_BUS	      0xffu
#define NO_PIN	      0xffu

struct out {
	uint8_t *p;
	size_t cap, len;
	unsigned entries;
	int err;
};

static void put(struct out *o, const void *p, size_t len)
{
	if (o->err || len > o->cap - o->len) {
		o->err = -ENOSPC;
		return;
	}
	memcpy(o->p + o->len, p, len);
	o->len += len;
	o->entries++;
}

static uint8_t checksum(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (len--)
		sum += *b++;
	return (uint8_t)-sum;
}

static void put_entries(struct out *o, const struct hw_desc *hw)
{
	uint8_t ioapic_id = (uint8_t)hw->cpus;

	for (unsigned i = 0; i < hw->cpus; i++) {
		struct mp_cpu c = {.type = MP_CPU,
				   .apic_id = (uint8_t)i,
				   .apic_ver = APIC_VER,
				   .flags = CPU_ENABLED | (i ? 0 : CPU_BOOT),
				   .signature = 0x600,
				   .features = 0x201};

		put(o, &c, sizeof(c));
	}
	put(o, &(struct mp_bus){.type = MP_BUS, .id = 0, .name = {'I', 'S', 'A', ' ', ' ', ' '}},
	    sizeof(struct mp_bus));
	put(o,
	    &(struct mp_ioapic){.type = MP_IOAPIC,
				.id = ioapic_id,
				.ver = 0x11,
				.flags = 1,
				.addr = (uint32_t)GPA_IOAPIC},
	    sizeof(struct mp_ioapic));
	for (unsigned pin = 0; pin < hw->pins; pin++) {
		struct mp_irq irq = {.type = MP_IRQ,
				     .kind = IRQ_INT,
				     .flags = IRQ_HIGH_EDGE,
				     .bus_irq = (uint8_t)pin,
				     .apic = ioapic_id,
				     .pin = (uint8_t)pin};

		put(o, &irq, sizeof(irq));
	}
	put(o, &(struct mp_irq){.type = MP_LOCAL, .kind = IRQ_EXTINT}, sizeof(struct mp_irq));
	put(o, &(struct mp_irq){.type = MP_LOCAL, .kind = IRQ_NMI, .apic = ALL_APICS, .pin = 1},
	    sizeof(struct mp_irq));
}

#define HEAD (sizeof(struct mp_floating) + sizeof(struct mp_table))

/* The two heads in front of the entries in @o; the whole length or -errno. */
static int finish(struct out *o, uint64_t gpa)
{
	struct mp_floating fp = {.sig = {'_', 'M', 'P', '_'}, .length = 1, .rev = 4};
	struct mp_table t = {
	    .sig = {'P', 'C', 'M', 'P'},
	    .rev = 4,
	    .oem = {'H', 'U', 'S', 'K', ' ', ' ', ' ', ' '},
	    .product = {'M', 'I', 'C', 'R', 'O', 'V', 'M', ' ', ' ', ' ', ' ', ' '},
	    .lapic = (uint32_t)GPA_LAPIC};

	if (o->err)
		return o->err;
	fp.table = (uint32_t)(gpa + sizeof(fp));
	fp.checksum = checksum(&fp, sizeof(fp));
	t.length = (uint16_t)(o->len - sizeof(fp));
	t.entries = (uint16_t)o->entries;
	memcpy(o->p, &fp, sizeof(fp));
	memcpy(o->p + sizeof(fp), &t, sizeof(t));
	t.checksum = checksum(o->p + sizeof(fp), t.length);
	memcpy(o->p + sizeof(fp), &t, sizeof(t));
	return (int)o->len;
}

int hw_mptable(const struct hw_desc *hw, uint64_t gpa, void *buf, size_t cap)
{
	struct out o = {.p = buf, .cap = cap, .len = HEAD};

	if (cap < HEAD || hw->cpus > MACHINE_CPUS_MAX)
		return -ENOSPC;
	put_entries(&o, hw);
	return finish(&o, gpa);
}

int hw_mptable_none(uint64_t gpa, void *buf, size_t cap)
{
	struct out o = {.p = buf, .cap = cap, .len = HEAD};
	struct mp_irq nobody = {.type = MP_IRQ, .apic = NO_APIC, .bus = NO_BUS, .pin = NO_PIN};

	if (cap < HEAD)
		return -ENOSPC;
	put(&o, &nobody, sizeof(nobody));
	return finish(&o, gpa);
}

int hw_mptable_cmdline(const struct hw_desc *hw, char *buf, size_t cap)
{
	size_t len = 0;

	if (cap)
		buf[0] = 0;
	for (unsigned i = 0; i < hw->slot_cnt; i++) {
		int n =
		    snprintf(buf + len, cap - len, " virtio_mmio.device=%u@0x%llx:%u", VMMIO_WINDOW,
			     (unsigned long long)hw->slot[i].gpa, hw->slot[i].pin);

		if (n < 0 || (size_t)n >= cap - len)
			return -ENOSPC;
		len += (size_t)n;
	}
	return (int)len;
}

unsigned hw_slot_pin(unsigned slot)
{
	/* 0 is no interrupt number for many drivers, 4 is the serial port's. */
	BUG_ON(slot >= MACHINE_SLOTS_MAX);
	return slot < 3 ? slot + 1 : slot + 2;
}
