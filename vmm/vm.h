/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM descriptors of one virtual machine: /dev/kvm, the VM, its memory slots and its
 * interrupts.
 *
 * A KVM descriptor belongs to the address space that made it: no fork in between. Slots are added
 * on one thread; vm_signal_msi() may be called from any.
 */
#ifndef HUSK_VMM_VM_H
#define HUSK_VMM_VM_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include "base/err.h"

/* ioctl with the argument's size checked against the request's. 0 or more, or -errno. */
#define kvm_call(fd, cmd, arg)                                                                     \
	({                                                                                         \
		_Static_assert(sizeof(*(arg)) == _IOC_SIZE(cmd), #cmd ": argument type");          \
		int rc_ = ioctl((fd), (cmd), (arg));                                               \
		rc_ < 0 ? -errno : rc_;                                                            \
	})
/* The ones whose argument is a number. */
static inline int kvm_call_int(int fd, unsigned long cmd, unsigned long arg)
{
	int rc = ioctl(fd, cmd, arg);

	return rc < 0 ? -errno : rc;
}

#define VM_IRQ_PINS 24u

struct vm {
	int kvm_fd, fd;
	unsigned slots;	   /* memory slots in use; never reused */
	unsigned run_size; /* bytes of a vCPU's shared page */
};

/* Everything or nothing; @vm needs no initialisation. @kvm_fd > 0: /dev/kvm, stays the caller's. */
int vm_open(struct vm *vm, int kvm_fd, struct err *e) MUST_CHECK;
void vm_close(struct vm *vm);

/* @host stays mapped until vm_close(). A guest's write to a @readonly slot is an MMIO exit. */
int vm_add_memory(struct vm *vm, uint64_t gpa, uint64_t len, void *host, bool readonly) MUST_CHECK;

/* An eventfd for any write at @gpa, of any width: a queue notification that needs no return. */
int vm_ioeventfd(struct vm *vm, uint64_t gpa, int fd, bool add) MUST_CHECK;

/* One edge. Returns 0, or -errno. The guest may have masked or disabled what it goes to: not an
 * error. */
int vm_signal_msi(const struct vm *vm, uint64_t addr, uint32_t data);

/* Tells the kernel what each pin's message is, so that EOIs of level-triggered ones come back. */
struct vm_route {
	bool used;
	uint64_t addr;
	uint32_t data;
};
int vm_set_routes(struct vm *vm, const struct vm_route route[VM_IRQ_PINS]);

#endif
