/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine by its KVM calls alone: kvmcalls MIB. What vmm asks of KVM for a null guest (split interrupt
 * controller, one memory slot, one vCPU with the host's CPUID), in the same order, and nothing else: no
 * files, no threads, no devices, no hardware description. The guest writes one byte to the UART, which goes to standard
 * output, and resets. It is what `vmm bench boot` of the null guest is held against.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CODE_GPA  0x100000u
#define IRQ_PINS  24u
#define TSS_GPA	  0xfffbd000ul
#define CPUID_MAX 256u
#define CR0_PE_ET 0x11u

/* 32-bit: mov dx, 0x3f8; mov al, 'x'; out dx, al; mov al, 0xfe; out 0x64, al; hlt */
static const uint8_t code[] = {0x66, 0xba, 0xf8, 0x03, 0xb0, 'x', 0xee, 0xb0, 0xfe, 0xe6, 0x64, 0xf4};

static int must(int rc, const char *what)
{
	if (rc < 0) {
		perror(what);
		exit(1);
	}
	return rc;
}

static void set_registers(int vcpu)
{
	struct {
		uint32_t nmsrs, pad;
		struct kvm_msr_entry e[2];
	} msrs = {.nmsrs = 2, .e = {{.index = 0x1a0, .data = 1}, {.index = 0x2ff, .data = 0x806}}};
	struct kvm_segment seg = {.limit = 0xffffffff, .selector = 0x10, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_regs regs = {.rip = CODE_GPA, .rflags = 2};
	struct kvm_sregs sregs;

	must(ioctl(vcpu, KVM_SET_MSRS, &msrs), "KVM_SET_MSRS");
	must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	seg.type = 0xb;
	sregs.cs = seg;
	seg.type = 0x3;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = seg;
	sregs.tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
	sregs.cr0 = CR0_PE_ET;
	must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void run(int vcpu, const struct kvm_run *r)
{
	for (;;) {
		must(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
		if (r->exit_reason != KVM_EXIT_IO || r->io.port == 0x64)
			return;
		if (write(STDOUT_FILENO, (const uint8_t *)r + r->io.data_offset, 1) != 1)
			return;
	}
}

int main(int argc, char **argv)
{
	struct {
		uint32_t nent, pad;
		struct kvm_cpuid_entry2 e[CPUID_MAX];
	} cpuid = {.nent = CPUID_MAX};
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IRQ_PINS}};
	uint64_t len = (argc > 1 ? strtoull(argv[1], NULL, 10) : 128) << 20;
	int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	int run_len = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	int vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM"), vcpu;
	uint8_t *ram = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct kvm_userspace_memory_region slot = {.memory_size = len, .userspace_addr = (uintptr_t)ram};
	void *shared;

	must(ioctl(vm, KVM_SET_TSS_ADDR, TSS_GPA), "KVM_SET_TSS_ADDR");
	must(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");
	must(ram == MAP_FAILED ? -1 : madvise(ram, len, MADV_HUGEPAGE), "guest memory");
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	memcpy(ram + CODE_GPA, code, sizeof(code));
	must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
	vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	shared = mmap(NULL, (size_t)run_len, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	must(shared == MAP_FAILED ? -1 : ioctl(vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
	set_registers(vcpu);
	run(vcpu, shared);
	return 0;
}
