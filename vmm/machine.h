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
#include "virtio/devices.h"
#include "virtio/virtio.h"
#include "vmm/report.h"

struct machine;
struct machine_saved;

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
	bool kvm_stats;	       /* machine_kvm_stats() will be asked for */
	struct report *report; /* phase stamps; may be NULL */
	/*
	 * Goes on from a file: machine_saved_config(). There is no kernel then, and the devices that are
	 * plugged have to be those that it was saved with. Stays the caller's until machine_free().
	 */
	const struct machine_saved *saved;
	/* The guest's memory has another size, or it has told statistics; loop; may be NULL. */
	void (*memory_changed)(void *ctx);
	/* The slot of a device that was unplugged is free; optional; loop thread. */
	void (*slot_free)(void *ctx);
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
/* Whether machine_plug() would find an empty one now. */
bool machine_has_slot(const struct machine *m);
/*
 * Takes a device out of its slot and frees it, soon: its driver in the guest should have let go of it
 * (one that has not finds an empty slot). The slot can be filled again after that. Started machines.
 */
void machine_unplug(struct machine *m, unsigned slot);
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

/*
 * Memory whose size changes while the guest runs; both are devices, which go into a slot as with
 * machine_plug(). The balloon takes memory away, and gives free memory back to the host by itself
 * (@stats: the guest is asked for statistics too). The other one adds memory up to @max bytes in all.
 */
int machine_add_balloon(struct machine *m, bool stats, unsigned *ret_slot,
			struct err *e) MUST_CHECK;
int machine_add_vmem(struct machine *m, uint64_t max, unsigned *ret_slot, struct err *e) MUST_CHECK;
/*
 * Asks for the guest to have @bytes: above what it began with by adding memory, below it by the
 * balloon. The guest follows when it can, or not at all: machine_memory() tells. -ENOTSUP without the
 * device that it takes, -ERANGE beyond its bounds.
 */
int machine_set_memory(struct machine *m, uint64_t bytes, struct err *e) MUST_CHECK;
struct machine_memory {
	uint64_t boot, max; /* bytes; what it began with, and what it can have at most */
	uint64_t wanted;    /* what machine_set_memory() asked for */
	uint64_t now;	    /* what the guest has taken and not given up */
	bool has_balloon;
	struct balloon_stats balloon;
};
void machine_memory(const struct machine *m, struct machine_memory *ret);
/* Asks the guest for new statistics; memory_changed() follows. False: it has none to give. */
bool machine_ask_memory(struct machine *m);

/* The device in a slot, the machine's; NULL when it is empty or does not exist. */
struct virtio_dev *machine_device(const struct machine *m, unsigned slot);
/* KVM's own counters, of the VM and of each vCPU (the same names again). 0 or -errno. */
int machine_kvm_stats(const struct machine *m,
		      void (*of_vm)(void *ctx, const char *name, uint64_t v), void *vm_ctx,
		      void (*of_vcpu)(void *ctx, const char *name, uint64_t v),
		      void *vcpu_ctx) MUST_CHECK;

/* Builds the hardware description, makes the vCPUs, starts their threads. */
int machine_start(struct machine *m, struct err *e) MUST_CHECK;
/*
 * Stops the guest: every vCPU leaves it and waits. Returns 0, and done(), once, on the loop and not
 * from inside: 0 = no vCPU runs, and none has an access open; -ETIMEDOUT: one of them did not come
 * within @timeout_ns, the guest goes on; -ECANCELED: machine_resume() or the end of the machine came
 * first. Or -EBUSY while another pause is on its way, -ESRCH when the machine does not run. A
 * machine that is paused already says so in the same way. The loop and the devices go on; the
 * guest's clocks, too. A paused machine can be stopped and freed.
 */
int machine_pause(struct machine *m, uint64_t timeout_ns, void (*done)(void *ctx, int rc),
		  void *ctx) MUST_CHECK;
/* The guest goes on, now. One that is not paused: nothing happens. */
void machine_resume(struct machine *m);
bool machine_is_paused(const struct machine *m);

/*
 * Writes a paused machine to @fd, which is empty and stays the caller's, to be made again by machine_config.saved.
 * Returns 0, and done() comes once, on the loop and not from inside, with code 0 or a sentence; or an error at
 * once. The guest stays paused; machine_resume() is of no effect until done(), and may follow then, as may
 * another save. What lies in files (disks, shares, persistent memory) is not written: the machine that
 * goes on finds them as they are then.
 */
int machine_save(struct machine *m, int fd, void (*done)(void *ctx, const struct err *e), void *ctx,
		 struct err *e) MUST_CHECK;
bool machine_is_saving(const struct machine *m);

/* Opens what machine_save() has written, and checks its form. machine_saved_free() is due; NULL is fine. */
int machine_saved_open(struct machine_saved **ret, const char *path, struct err *e) MUST_CHECK;
void machine_saved_free(struct machine_saved *s);
/* What a machine has to have to go on from @s: processors, memory, description, no kernel. */
void machine_saved_config(const struct machine_saved *s, struct machine_config *cfg);

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
