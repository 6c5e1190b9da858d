/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hardware description that a guest kernel gets: a flattened device tree, or an MP table
 * together with virtio_mmio.device= words for the command line. Exactly one of them. Pure: memory
 * in, memory out.
 */
#ifndef HUSK_VMM_HW_H
#define HUSK_VMM_HW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "vmm/boot_x86.h"
#include "vmm/machine.h"

struct hw_desc {
	unsigned cpus;
	bool serial;
	unsigned pins; /* of the IO-APIC */
	unsigned slot_cnt;
	struct {
		uint64_t gpa;
		unsigned pin;
	} slot[MACHINE_SLOTS_MAX];
	unsigned pmem_cnt;
	struct {
		uint64_t gpa, len;
	} pmem[BOOT_PMEM_MAX]; /* read-only images */
};

/* The IO-APIC pin of virtio slot @slot < MACHINE_SLOTS_MAX. */
unsigned hw_slot_pin(unsigned slot);

/* Bytes enough for the largest tree and table. */
#define HW_FDT_MAX     0x10000u
#define HW_MPTABLE_MAX 0x2000u

/* The tree in @buf; returns its length or -errno. */
int hw_fdt(const struct hw_desc *hw, void *buf, size_t cap) MUST_CHECK;

/* The table as it has to be at guest-physical @gpa; returns its length or -errno. */
int hw_mptable(const struct hw_desc *hw, uint64_t gpa, void *buf, size_t cap) MUST_CHECK;
/*
 * A table that describes nothing, for a guest that has a device tree. Without one, Linux looks for a
 * table at 4096 places below 1 MiB, and maps and unmaps 64 KiB for each: 4.5 million instructions and
 * 130 000 TLB flushes. One interrupt that goes from no bus to no IO-APIC is in it, because Linux takes
 * a table without any for a broken one and makes up fifteen. As above.
 */
int hw_mptable_none(uint64_t gpa, void *buf, size_t cap) MUST_CHECK;
/* " virtio_mmio.device=512@0x...:pin" for each slot, into @buf; returns the length or -errno. */
int hw_mptable_cmdline(const struct hw_desc *hw, char *buf, size_t cap) MUST_CHECK;

#endif
