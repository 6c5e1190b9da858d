/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest-physical map. Fixed, since snapshots and the guest's device names depend on it;
 * everything lies below 2^39, which the smallest host address width of the last decade covers.
 *
 *   0x00_0000_0000  RAM            low part, up to 3 GiB
 *   0x00_c000_0000  boot marker    one byte register (abi.h)
 *   0x00_d000_0000  MMIO slots     MMIO_SLOT_STRIDE each: virtio over MMIO
 *   0x00_d010_0000  system page    power, exit status (abi.h)
 *   0x00_d010_1000  panic page     (abi.h)
 *   0x00_d010_2000  serial port    the 16550A again, where a device tree can name it
 *   0x00_e000_0000  PCI ECAM       256 MiB, kept free for a PCI transport
 *   0x00_f000_0000  PCI BARs       32-bit ones, kept free
 *   0x00_fec0_0000  IO-APIC
 *   0x00_fee0_0000  local APIC
 *   0x00_fffb_d000  KVM's own      three pages of an Intel host (real-mode TSS), below them one
 * page 0x01_0000_0000  RAM            what does not fit below 3 GiB, up to 252 GiB 0x40_0000_0000
 * pmem window    64 GiB 0x50_0000_0000  virtio-mem     128 GiB, kept free for memory added later
 *   0x70_0000_0000  PCI BARs       64-bit ones, kept free
 *   0x80_0000_0000  end
 *
 * Low memory, filled by the loader (boot_x86.c); Linux takes it over when it has read it:
 *
 *   0x0010  empty MP table            0x0500  GDT; 0x0800 entry marker
 *   0x6000  PVH start info, its memory map and module list
 *   0x7000  boot_params               0x9000  page tables: PML4, PDPT, four page directories
 *   0x20000 command line              0x9fc00 end of usable low memory
 *   0xa0000 setup_data: random seed, device tree. Not in usable memory: there Linux would cut its
 *           memory map into pieces around each, and it goes through the whole map for every
 *           gigabyte of address space
 *   0xf0000 MP table
 */
#ifndef HUSK_VMM_MEMMAP_H
#define HUSK_VMM_MEMMAP_H

#include <stdint.h>

#define GPA_RAM_LOW	   0x0ull
#define GPA_RAM_LOW_END	   0xc0000000ull
#define GPA_BOOT_MARK	   0xc0000000ull
#define GPA_BOOT_MARK_LEN  0x1000ull
#define GPA_SLOTS	   0xd0000000ull
#define MMIO_SLOT_STRIDE   0x1000ull
#define SYS_PAGE_GPA	   0xd0100000ull
#define PANIC_PAGE_GPA	   0xd0101000ull
#define SERIAL_GPA	   0xd0102000ull
#define GPA_PAGE	   0x1000ull
#define GPA_PCI_ECAM	   0xe0000000ull
#define GPA_PCI_ECAM_LEN   0x10000000ull
#define GPA_PCI_BAR32	   0xf0000000ull
#define GPA_PCI_BAR32_END  0xfec00000ull
#define GPA_IOAPIC	   0xfec00000ull
#define GPA_IOAPIC_LEN	   0x1000ull
#define GPA_LAPIC	   0xfee00000ull
#define GPA_LAPIC_LEN	   0x1000ull
#define GPA_KVM_TSS	   0xfffbd000ull
#define GPA_RAM_HIGH	   0x100000000ull
#define GPA_RAM_HIGH_END   0x4000000000ull
#define GPA_PMEM	   0x4000000000ull
#define GPA_PMEM_END	   0x5000000000ull
#define GPA_VIRTIO_MEM	   0x5000000000ull
#define GPA_VIRTIO_MEM_END 0x7000000000ull
#define GPA_PCI_BAR64	   0x7000000000ull
#define GPA_PCI_BAR64_END  0x8000000000ull
#define GPA_END		   0x8000000000ull

#define PMEM_ALIGN	   0x200000ull /* DAX with huge pages needs both ends on 2 MiB */

/* The loader's places in low memory. */
#define GPA_NO_MPTABLE	0x10ull /* the first place where Linux looks for one is the first KiB */
#define GPA_GDT		0x500ull
#define GPA_ENTRY_MARK	0x800ull
#define GPA_START_INFO	0x6000ull
#define GPA_PVH_MEMMAP	0x6100ull
#define GPA_PVH_MODS	0x6e00ull
#define GPA_ZERO_PAGE	0x7000ull
#define GPA_BOOT_STACK	0x8ff0ull
#define GPA_PML4	0x9000ull
#define GPA_CMDLINE	0x20000ull
#define GPA_CMDLINE_MAX 0x10000ull
#define GPA_LOW_END	0x9fc00ull /* of what the e820 map calls usable below 1 MiB */
#define GPA_SETUP_DATA	0xa0000ull
#define GPA_SETUP_END	0xf0000ull
#define GPA_MPTABLE	0xf0000ull
#define GPA_MPTABLE_END 0x100000ull
#define GPA_KERNEL_MIN	0x100000ull

/* The largest guest: what fits below the hole and up to the pmem window. */
#define MEMMAP_RAM_MAX (GPA_RAM_LOW_END + (GPA_RAM_HIGH_END - GPA_RAM_HIGH))

static inline uint64_t memmap_low_len(uint64_t ram)
{
	return ram < GPA_RAM_LOW_END ? ram : GPA_RAM_LOW_END;
}
static inline uint64_t memmap_high_len(uint64_t ram)
{
	return ram - memmap_low_len(ram);
}

#endif
