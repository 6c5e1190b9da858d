/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phase table of a boot, from one monotonic clock (clock_ns), and the returns of KVM_RUN to
 * user space by reason. Stamps are taken once (the first wins) and from any thread.
 */
#ifndef HUSK_VMM_REPORT_H
#define HUSK_VMM_REPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum report_phase {
	PHASE_EXEC,   /* the process was started: field 22 of /proc/self/stat cannot do better than
			 10 ms, so: the first instruction of main() */
	PHASE_CONFIG, /* command line and files read */
	PHASE_CREATE_VM, /* KVM_CREATE_VM returned */
	PHASE_MEMORY,	 /* memory slots set */
	PHASE_KERNEL,	 /* kernel loaded */
	PHASE_RUN,	 /* about to enter KVM_RUN for the first time */
	PHASE_ENTRY,	 /* guest marker: kernel entry (port 0x80, 0x40) */
	PHASE_CONSOLE,	 /* first byte on a console */
	PHASE_INIT,	 /* guest marker: init runs (port 0x80, 0x41) */
	PHASE_AGENT,	 /* the agent answered the handshake */
	PHASE_PROCESS,	 /* the container's process was started */
	PHASE_OUTPUT,	 /* its first output byte */
	PHASE_EXIT,	 /* the guest ended */
	PHASE_COUNT,
};

enum report_exit {
	REPORT_IO,
	REPORT_MMIO,
	REPORT_EOI,
	REPORT_INTR,
	REPORT_OTHER,
	REPORT_EXIT_COUNT,
};

struct report {
	_Atomic uint64_t at[PHASE_COUNT];
	_Atomic uint64_t exits[REPORT_EXIT_COUNT];
	_Atomic uint64_t guest_kib, guest_free_kib; /* the agent's word; 0 = none has said it */
	bool wanted; /* somebody will read it: the entry is worth an exit (boot_x86.h) */
};

void report_stamp(struct report *r, enum report_phase p); /* NULL is fine */
void report_stamp_at(struct report *r, enum report_phase p, uint64_t ns);
void report_count(struct report *r, enum report_exit why);
/* What memory the guest's kernel has, and what is free of it once the agent runs. Values of a guest. */
void report_guest_memory(struct report *r, uint64_t kib, uint64_t free_kib);
/* JSON keys (stable), and words for people, of enum report_phase and enum report_exit. */
const char *report_phase_key(unsigned p);
const char *report_phase_text(unsigned p);
const char *report_exit_key(unsigned why);
/* As a table for people, or as one JSON object on one line. */
void report_print(const struct report *r, FILE *f, bool json);

#endif
