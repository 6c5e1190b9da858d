/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between machine.c, machine_save.c and machine_restore.c: the state of a save that is under way.
 */
#ifndef HUSK_VMM_MACHINE_SAVE_H
#define HUSK_VMM_MACHINE_SAVE_H

#include <pthread.h>
#include <stdbool.h>
#include "base/err.h"
#include "base/loop.h"
#include "vmm/savefile.h"

struct machine;
struct saved_shape;

struct machine_save {
	enum {
		SAVE_NONE,
		SAVE_FREEZING, /* devices finish what they have begun */
		SAVE_WRITING,  /* the thread has it */
		SAVE_FROZEN    /* saved; the guest is still paused */
	} state;
	unsigned waiting; /* devices that are not quiet yet */
	uint64_t until;
	int fd;
	struct savefile file;
	const void *host[SAVEFILE_SECTIONS_MAX];
	pthread_t thread;
	struct loop_timer timer;
	struct loop_work quiet, written;
	void (*done)(void *ctx, const struct err *e);
	void *ctx;
	struct err err; /* the thread's while it writes */
	bool stopping;	/* the machine ends, and waits for us */
};

/* machine_save.c */
void machine_save_init(struct machine *m);
void machine_save_thaw(struct machine *m); /* the guest goes on */
/* The vCPUs have left: machine_drained() follows, or comes at once. */
void machine_save_stop(struct machine *m);
void machine_shape(const struct machine *m, struct saved_shape *s);

/*
 * machine_restore.c. load_ram(): into fresh memory, any thread. load_state(): the rest, when all else of the machine
 * has been made and no vCPU has a thread. machine_restored(): the guest's threads are there, devices go on.
 */
int machine_load_ram(struct machine *m, struct err *e) MUST_CHECK;
int machine_load_cpuid(struct machine *m, struct err *e) MUST_CHECK;
int machine_load_state(struct machine *m, struct err *e) MUST_CHECK;
void machine_restored(struct machine *m);

#endif
