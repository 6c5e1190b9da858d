/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine: guest memory, vCPUs, interrupts, bus, hardware description, and the slots that virtio
 * devices are plugged into. Used by the `vmm` command and by the container runtime alike.
 *
 *   machine_new -> machine_plug / machine_pmem ... -> machine_start -> (loop_run) -> ended()
 *                                                                   -> machine_free
 *
 * All functions on the loop's thread. A KVM descriptor belongs to the process that made it: no fork
 * between machine_new() and machine_free() that expects to use it.
 */
#ifndef HUSK_VMM_MACHINE_H
#define HUSK_VMM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/loop.h"
#include "virtio/virtio.h"
#include "vmm/report.h"

struct machine;

enum machine_hw { MACHINE_HW_AUTO, MACHINE_HW_FDT, MACHINE_HW_MPTABLE };

enum machine_end {
	MACHINE_RUNNING,
	MACHINE_RESET, /* the guest asked for a reset (port 0x64, port 0xcf9, syscon) */
	MACHINE_POWEROFF,
	MACHINE_EXIT,	      /* the guest handed over a status on the exit port */
	MACHINE_PANIC,	      /* the guest kernel reported a panic */
	MACHINE_TRIPLE_FAULT, /* KVM_EXIT_SHUTDOWN */
	MACHINE_STOPPED,      /* machine_stop() */
	MACHINE_FAILED, /* KVM cannot go on: internal error, failed entry; text in the message */
};

struct machine_config {
	/* All descriptors stay the caller's and may be closed after machine_new(). */
	int kvm_fd;		 /* > 0: /dev/kvm, opened before a pivot took its path away;
				    else machine_new() opens it */
	int kernel_fd;		 /* ELF (64-bit entry or PVH) or bzImage */
	const char *kernel_name; /* for messages */
	int initrd_fd;		 /* -1 = none */
	const char *initrd_name;
	const char *cmdline; /* what the user appends; the machine adds what it needs itself */
	unsigned cpus;	     /* 1.. */
	uint64_t memory;     /* bytes, a multiple of 4 KiB; at least MACHINE_MEMORY_MIN */
	enum machine_hw hw;
	bool serial; /* a 16550A at port 0x3f8; output goes to serial_out() */
	void (*serial_out)(void *ctx, const void *buf, size_t len); /* vCPU thread */
	void (*serial_room)(
	    void *ctx);	      /* the full receiver has room again; vCPU thread; may be NULL */
	unsigned spare_slots; /* empty virtio slots beyond those plugged before start */
	void (*ended)(void *ctx, enum machine_end why, int status,
		      const char *msg); /* loop, once */
	void *ctx;
	/*
	 * Confinement; both may be NULL. vcpu_init() is the first thing in each vCPU thread.
	 * before_run() is called by machine_start() on the loop's thread when all of them have
	 * done that and none has entered the guest. An error of either fails machine_start().
	 */
	int (*vcpu_init)(void *ctx, struct err *e);
	int (*before_run)(void *ctx, struct err *e);
	struct report *report; /* phase stamps; may be NULL */
};

#define MACHINE_MEMORY_MIN (16ull << 20)
#define MACHINE_CPUS_MAX   64u
#define MACHINE_SLOTS_MAX                                                                          \
	22u /* virtio-mmio windows: one IO-APIC pin each; 0 and 4 are not for them */

/*
 * Opens /dev/kvm, makes the VM and its memory, and loads the kernel. On failure nothing is left and
 * @e has the sentence.
 */
int machine_new(struct machine **ret, const struct machine_config *cfg, struct loop *loop,
		struct err *e) MUST_CHECK;

/*
 * Puts a device into the first empty slot; the machine owns it from then on, on failure too. After
 * machine_start() this fills one of the spare slots, and the guest has to be told to probe it.
 */
int machine_plug(struct machine *m, struct virtio_dev *dev, unsigned *ret_slot,
		 struct err *e) MUST_CHECK;
/* The slot's register window, which names the guest's platform device ("<gpa in hex>.virtio_mmio").
 */
uint64_t machine_slot_gpa(const struct machine *m, unsigned slot);

/*
 * Maps a file as persistent memory, before the start. Read-only: a KVM read-only slot (guest writes
 * are dropped and counted), found as a pmem-region of the device tree, or as a virtio-pmem device
 * where there is no tree. Writable: a virtio-pmem device whose flush is an fsync. The file's length
 * is rounded up to 2 MiB; @fd stays the caller's. Linux numbers regions first, then devices.
 */
int machine_pmem(struct machine *m, int fd, const char *name, bool readonly,
		 struct err *e) MUST_CHECK;

/* Builds the hardware description, makes the vCPUs, starts their threads. */
int machine_start(struct machine *m, struct err *e) MUST_CHECK;
/* Asks the machine to end; ended(MACHINE_STOPPED) follows on the loop. */
void machine_stop(struct machine *m);
/* Bytes for the serial port's receiver; returns how many fit. */
size_t machine_serial_in(struct machine *m, const void *buf, size_t len);
/*
 * Frees devices, memory, descriptors. NULL is fine. A machine that still runs is stopped: the loop
 * turns in here until it has drained (whatever else is on the loop goes on meanwhile), and ended()
 * is not called any more. Not from a callback of the machine or of one of its devices, unless it
 * has ended.
 */
void machine_free(struct machine *m);

const struct gmem *machine_gmem(const struct machine *m);

#endif
