/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state in which a guest begins: what is in its low memory and in the first vCPU's registers.
 *
 * Linux's 64-bit boot protocol (Documentation/x86/boot.rst) or PVH
 * (xen/include/public/arch-x86/hvm/ start_info.h). Works on plain memory; no KVM call here.
 */
#ifndef HUSK_VMM_BOOT_X86_H
#define HUSK_VMM_BOOT_X86_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "virtio/gmem.h"
#include "vmm/image.h"

#define BOOT_SEED_LEN 32u
#define BOOT_PMEM_MAX 8u

struct boot_params_in {
	const struct kernel_image *image;
	const char *cmdline;	     /* complete */
	uint64_t ram;		     /* bytes */
	uint64_t initrd, initrd_len; /* loaded already; length 0 = none */
	const void *fdt;	     /* NULL = none; 64-bit entry only */
	size_t fdt_len;
	const uint8_t *seed; /* BOOT_SEED_LEN bytes; 64-bit entry only */
	bool mark_entry;     /* the guest's first instructions tell that they run (abi.h) */
};

/* Which registers the first vCPU starts with. */
struct boot_regs {
	enum boot_proto proto;
	uint64_t rip;
};

/* Fills the guest's low memory. -errno with a sentence. */
int boot_setup(const struct gmem *mem, const struct boot_params_in *in, struct boot_regs *ret,
	       struct err *e) MUST_CHECK;

/* Where an initrd of @len goes: as high as the kernel can reach. 0 or -ENOMEM with a sentence. */
int boot_place_initrd(const struct kernel_image *image, uint64_t ram, uint64_t len,
		      uint64_t *ret_gpa, struct err *e) MUST_CHECK;

/* Registers: @sregs as KVM_GET_SREGS had them. */
void boot_sregs(const struct boot_regs *b, struct kvm_sregs *sregs);
void boot_gpregs(const struct boot_regs *b, struct kvm_regs *regs);

#endif
