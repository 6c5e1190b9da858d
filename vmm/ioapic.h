/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IO-APIC (Intel 82093AA): 24 pins that become messages to local APICs. The local APICs are
 * KVM's, this half is ours (split irqchip).
 *
 * Devices here are edge-triggered: an edge that arrives at a masked pin is latched and delivered
 * when the pin is unmasked, so that none is lost while Linux moves an interrupt. Level-triggered
 * pins have the remote IRR and wait for the EOI that the kernel reports.
 *
 * Any thread; a lock of its own. Delivery happens under it, so that messages keep their order.
 */
#ifndef HUSK_VMM_IOAPIC_H
#define HUSK_VMM_IOAPIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/compiler.h"
#include "virtio/snap.h"

#define IOAPIC_PINS 24u

/* A redirection entry's fields. */
#define IOAPIC_VECTOR	  0xffull
#define IOAPIC_DELIVERY	  0x700ull
#define IOAPIC_LOGICAL	  (1ull << 11)
#define IOAPIC_POLARITY	  (1ull << 13)
#define IOAPIC_REMOTE_IRR (1ull << 14)
#define IOAPIC_LEVEL	  (1ull << 15)
#define IOAPIC_MASKED	  (1ull << 16)

struct ioapic_ops {
	/* Sends one message. Any thread, under the IO-APIC's lock: must not come back here. */
	void (*deliver)(void *ctx, uint64_t addr, uint32_t data);
	/* A level-triggered entry changed: the kernel has to learn which EOIs to report. May be
	 * NULL. */
	void (*routes)(void *ctx, const uint64_t entry[IOAPIC_PINS]);
};

struct ioapic {
	pthread_mutex_t lock;
	const struct ioapic_ops *ops;
	void *ctx;
	unsigned pins; /* how many there are; Linux reads and writes each of them while it boots */
	uint32_t select; /* IOREGSEL */
	uint32_t id;
	uint64_t entry[IOAPIC_PINS];
	uint32_t edges;			 /* latched while masked */
	uint32_t levels;		 /* lines that are up */
	uint64_t delivered[IOAPIC_PINS]; /* counters */
};

void ioapic_init(struct ioapic *a, const struct ioapic_ops *ops, void *ctx);
/* Fewer pins than IOAPIC_PINS, before the guest runs. 1 to IOAPIC_PINS. */
void ioapic_set_pins(struct ioapic *a, unsigned pins);
void ioapic_fini(struct ioapic *a);

/* One edge on @pin; a pin that does not exist is ignored. */
void ioapic_pulse(struct ioapic *a, unsigned pin);
/* The line of a level-triggered pin; on an edge-triggered one a rise is an edge. */
void ioapic_set_level(struct ioapic *a, unsigned pin, bool up);
/* A local APIC acknowledged @vector (KVM_EXIT_IOAPIC_EOI). */
void ioapic_eoi(struct ioapic *a, uint8_t vector);

/* Can a pin send what wakes a processor that has interrupts off (NMI, SMI, INIT)? */
bool ioapic_has_nmi(struct ioapic *a);

/* The register window: IOREGSEL at 0, IOWIN at 0x10; 32-bit accesses, others read 0 and do nothing.
 */
void ioapic_read(struct ioapic *a, uint64_t off, void *buf, unsigned len);
void ioapic_write(struct ioapic *a, uint64_t off, const void *buf, unsigned len);

/*
 * Its registers as a record (virtio/snap.h), of a machine whose vCPUs stand still; into a new one with as
 * many pins. Checks all it reads. Messages that were sent are the local APICs'. 0 or -errno.
 */
int ioapic_save(struct ioapic *a, struct buf *to) MUST_CHECK;
int ioapic_load(struct ioapic *a, struct snap_rd *r) MUST_CHECK;

/* The message that an entry stands for. */
void ioapic_message(uint64_t entry, uint64_t *addr, uint32_t *data);

#endif
