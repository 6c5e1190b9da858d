/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw KVM. See vm.h for the contract; Documentation/virt/kvm/api.rst of Linux for the calls.
 */
#include "vmm/vm.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmm/check.h"
#include "vmm/memmap.h"

/* Ours to close: the caller's own descriptor is duplicated. */
static int get_kvm(int given, struct err *e)
{
	int fd;

	if (given <= 0)
		return check_open_kvm(CHECK_KVM_DEV, e);
	fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? err_sys(e, -errno, "KVM descriptor %d", given) : fd;
}

static int create_vm(int kvm_fd)
{
	int rc;

	/* A pending signal makes it give up half-way; nothing is left then. */
	do
		rc = kvm_call_int(kvm_fd, KVM_CREATE_VM, 0);
	while (rc == -EINTR);
	return rc;
}

int vm_open(struct vm *vm, int kvm_fd, struct err *e)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {VM_IRQ_PINS}};
	auto_fd kvm = get_kvm(kvm_fd, e);
	auto_fd fd = -1;
	int rc;

	*vm = (struct vm){.kvm_fd = -1, .fd = -1};
	if (kvm < 0)
		return kvm;
	rc = kvm_call_int(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (rc < (int)sizeof(struct kvm_run))
		return err_set(e, -ENOTSUP, "/dev/kvm: unusable: a vCPU's shared page has %d bytes",
			       rc);
	vm->run_size = (unsigned)rc;
	fd = create_vm(kvm);
	if (fd < 0)
		return err_sys(e, fd, "KVM cannot make a virtual machine (KVM_CREATE_VM)");
	/* Used by an Intel host that cannot run real mode natively; others ignore it. */
	rc = kvm_call_int(fd, KVM_SET_TSS_ADDR, GPA_KVM_TSS);
	if (rc < 0)
		return err_sys(e, rc, "KVM_SET_TSS_ADDR");
	rc = kvm_call(fd, KVM_ENABLE_CAP, &split);
	if (rc < 0)
		return err_sys(e, rc, "this host's KVM has no split interrupt controller");
	vm->kvm_fd = fd_take(&kvm);
	vm->fd = fd_take(&fd);
	return 0;
}

void vm_close(struct vm *vm)
{
	fd_close(&vm->fd);
	fd_close(&vm->kvm_fd);
}

int vm_add_memory(struct vm *vm, uint64_t gpa, uint64_t len, void *host, bool readonly)
{
	struct kvm_userspace_memory_region r = {
	    .slot = vm->slots,
	    .flags = readonly ? KVM_MEM_READONLY : 0,
	    .guest_phys_addr = gpa,
	    .memory_size = len,
	    .userspace_addr = (uintptr_t)host,
	};
	int rc = kvm_call(vm->fd, KVM_SET_USER_MEMORY_REGION, &r);

	if (rc < 0)
		return rc;
	vm->slots++;
	return 0;
}

int vm_ioeventfd(struct vm *vm, uint64_t gpa, int fd, bool add)
{
	/* Length 0 means any width and value; on Intel hosts it needs no instruction decoding. */
	struct kvm_ioeventfd ev = {
	    .addr = gpa,
	    .len = 0,
	    .fd = fd,
	    .flags = add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
	};

	return kvm_call(vm->fd, KVM_IOEVENTFD, &ev);
}

int vm_signal_msi(const struct vm *vm, uint64_t addr, uint32_t data)
{
	struct kvm_msi msi = {
	    .address_lo = (uint32_t)addr,
	    .address_hi = (uint32_t)(addr >> 32),
	    .data = data,
	};
	int rc = kvm_call(vm->fd, KVM_SIGNAL_MSI, &msi);

	return rc < 0 ? rc : 0;
}

int vm_set_routes(struct vm *vm, const struct vm_route route[VM_IRQ_PINS])
{
	struct {
		uint32_t nr, flags; /* struct kvm_irq_routing */
		struct kvm_irq_routing_entry entry[VM_IRQ_PINS];
	} r;
	unsigned n = 0;
	int rc;

	memset(&r, 0, sizeof(r));
	for (unsigned pin = 0; pin < VM_IRQ_PINS; pin++) {
		if (!route[pin].used)
			continue;
		r.entry[n].gsi = pin;
		r.entry[n].type = KVM_IRQ_ROUTING_MSI;
		r.entry[n].u.msi.address_lo = (uint32_t)route[pin].addr;
		r.entry[n].u.msi.address_hi = (uint32_t)(route[pin].addr >> 32);
		r.entry[n].u.msi.data = route[pin].data;
		n++;
	}
	r.nr = n;
	rc = kvm_call(vm->fd, KVM_SET_GSI_ROUTING, (struct kvm_irq_routing *)&r);
	return rc < 0 ? rc : 0;
}
