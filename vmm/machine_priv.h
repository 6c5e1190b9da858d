/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a machine, shared by machine.c (life), machine_dev.c (slots, windows),
 * machine_load.c (memory, kernel), machine_mem.c (memory that comes and goes), machine_regs.c
 * (registers), machine_save.c and machine_restore.c.
 */
#ifndef HUSK_VMM_MACHINE_PRIV_H
#define HUSK_VMM_MACHINE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include "virtio/mmio.h"
#include "vmm/boot_x86.h"
#include "vmm/acks.h"
#include "vmm/bus.h"
#include "vmm/halt.h"
#include "vmm/hw.h"
#include "vmm/ioapic.h"
#include "vmm/machine.h"
#include "vmm/machine_save.h"
#include "vmm/mem.h"
#include "vmm/pause.h"
#include "vmm/serial.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/watch.h"

struct slot {
	struct machine *m;
	struct vmmio io;
	bool used;
	int kick_fd; /* eventfd; -1 = none */
	uint64_t kick_val;
	struct loop_op kick;
	bool down;		    /* its device has drained */
	struct virtio_dev *leaving; /* machine_unplug(): the device that goes; else NULL */
	struct loop_timer retry;    /* while a vCPU is within one of its registers */
};

struct pmem_window {
	struct mem_map map;
	uint64_t gpa;
	bool readonly;
};

/* machine_load.c; the thread's while it runs. */
struct machine_load {
	pthread_t thread;
	bool running;
	int kernel_fd, initrd_fd; /* copies of our own, as is the name */
	char *initrd_name;
	struct err err;
};

struct machine {
	struct machine_config
	    cfg; /* strings and descriptors in it are not valid after machine_new() */
	char *kernel_name, *cmdline;
	struct loop *loop;
	struct vm vm;
	struct mem_map ram;
	struct gmem gmem;
	struct virtio_dev *balloon, *vmem; /* machine_mem.c; in slots, which own them */
	struct mem_map vmem_map;
	uint64_t vmem_usable; /* of vmem_map, in the guest's map */
	uint64_t memory_max;  /* with all of it; valid with vmem */
	struct kernel_image image;
	struct machine_load load;
	enum machine_hw hw; /* AUTO until the kernel is loaded, then decided */
	uint64_t initrd, initrd_len;

	struct bus pio, mmio;
	struct ioapic ioapic;
	struct serial serial;
	bool has_serial;
	struct slot slot[MACHINE_SLOTS_MAX];
	unsigned slot_cnt; /* windows; fixed by the start */
	struct acks acks;
	uint8_t *slot_pages; /* what the guest reads in them: a page each */
	size_t slot_pages_len;
	struct pmem_window pmem[BOOT_PMEM_MAX];
	unsigned pmem_cnt;
	uint64_t pmem_next; /* address of the next window */
	_Atomic uint64_t dropped_writes;

	struct vcpu_shared shared;
	struct vcpu vcpu[MACHINE_CPUS_MAX];
	struct cpuid cpuid;

	bool started;
	atomic_uint alive; /* vCPU threads */
	pthread_mutex_t end_lock;
	enum machine_end why; /* under end_lock; the first reason wins */
	int status;
	char msg[512];
	struct loop_work end_work, left_work;
	struct watch watch;
	struct halt halt; /* in use without a power-off register */
	struct pause pause;
	struct machine_save save;
	bool loaded;	   /* of a file: devices may run, though nothing was started */
	unsigned draining; /* what still has to come back before ended() */
	bool ended;
};

/* machine.c: ends the machine. Any thread; the first reason counts. @msg may be NULL. */
void machine_end(struct machine *m, enum machine_end why, int status, const char *msg);
/* Loop thread: one of those counted in m->draining came back. */
void machine_drained(struct machine *m);

/*
 * machine_load.c. make_memory() without a VM yet; load_begin() once it is there; give_memory() with the
 * VM; load_await() as late as possible, any number of times, also tells of failures; load_end() before
 * the memory goes, whatever has happened.
 */
int machine_make_memory(struct machine *m, struct err *e) MUST_CHECK;
int machine_give_memory(struct machine *m, struct err *e) MUST_CHECK;
int machine_load_begin(struct machine *m, struct err *e) MUST_CHECK;
int machine_load_await(struct machine *m, struct err *e) MUST_CHECK;
void machine_load_end(struct machine *m);

/* machine_regs.c: puts everything that is not virtio onto the buses. */
int machine_add_registers(struct machine *m, struct err *e) MUST_CHECK;

/* machine_dev.c */
void machine_init_slots(struct machine *m);
int machine_add_slots(struct machine *m, struct err *e) MUST_CHECK;
void machine_arm_slots(struct machine *m);
void machine_drain_slots(struct machine *m);
void machine_free_slots(struct machine *m);

#endif
