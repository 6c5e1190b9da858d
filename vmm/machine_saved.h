/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the file of a saved machine says of it, checked, before there is a machine (savefile.h has the form). Shared
 * by machine_save.c, which writes it, and machine_restore.c. Pure but for reading the file. Its records:
 *
 *	shape, clock, CPUID | each vCPU | IO-APIC | serial port | each slot that is in use
 */
#ifndef HUSK_VMM_MACHINE_SAVED_H
#define HUSK_VMM_MACHINE_SAVED_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "virtio/snap.h"
#include "vmm/boot_x86.h"
#include "vmm/cpuid_x86.h"
#include "vmm/machine.h"
#include "vmm/savefile.h"

#define SAVED_VERSION	1u
#define SAVED_TAG_CLOCK SNAP_TAG('M', 'C', 'L', 'K')
#define SAVED_TAG_CPUID SNAP_TAG('M', 'C', 'I', 'D')
#define SAVED_TAG_SLOT	SNAP_TAG('M', 'S', 'L', 'T')

struct saved_window {
	uint64_t gpa, len;
	bool readonly;
};

struct saved_slot {
	uint32_t id;   /* enum virtio_id; VIRTIO_ID_NONE: empty */
	char name[16]; /* printable, ends in a zero */
};

/* The shape of a machine. */
struct saved_shape {
	unsigned cpus;
	uint64_t memory; /* that it began with */
	enum machine_hw hw;
	bool serial;
	unsigned pins, pmem_cnt, slot_cnt;
	struct saved_window pmem[BOOT_PMEM_MAX];
	struct saved_slot slot[MACHINE_SLOTS_MAX];
};

struct machine_saved {
	int fd;
	char *name; /* for sentences */
	struct savefile file;
	struct saved_shape shape;
	uint64_t clock; /* kvmclock, ns */
	struct cpuid cpuid;
	struct snap_rd rest; /* the records behind these */
};

/* The sentence for what is not as it has to be. -EPROTO. */
int saved_damaged(const struct machine_saved *s, struct err *e);

int saved_put_shape(struct buf *to, const struct saved_shape *s) MUST_CHECK;
/* Takes the shape from the front of @r. -EPROTO when it is not one that a machine can have. */
int saved_get_shape(struct snap_rd *r, struct saved_shape *s) MUST_CHECK;
/* Says in one sentence how @now differs from what was saved. 0 when it does not, else -EINVAL. */
int saved_compare(const struct saved_shape *was, const struct saved_shape *now,
		  struct err *e) MUST_CHECK;

#endif
