/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether this host's KVM can run an ordinary guest, and what is costly or missing on it.
 *
 * Some machines have a /dev/kvm that only looks like one: guest kernel code runs in an instruction
 * emulator, or an instruction that every kernel uses stops the VM. So the answer comes from a tiny
 * guest of our own, in memory, one stage per thing that a kernel needs, each under a watchdog.
 *
 * The caller's thread runs it all; nothing is left behind. While a guest runs, the signal
 * CHECK_SIGNAL has a handler of ours (the former one comes back afterwards).
 */
#ifndef HUSK_VMM_CHECK_H
#define HUSK_VMM_CHECK_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/err.h"

#define CHECK_KVM_DEV "/dev/kvm"
#define CHECK_SIGNAL  (SIGRTMIN + 7)

/*
 * CPU time that one stage may take; wall time, where others want the CPUs too or the guest sleeps, is that many
 * times as much. A stage is a few hundred instructions: microseconds on hardware, a few milliseconds where the
 * host's CPU is itself emulated. After the first stage that used it up twice, the others, whose result no longer
 * decides, get the shorter one.
 */
#define CHECK_STARVED	     5u
#define CHECK_STAGE_MS	     2000u
#define CHECK_STAGE_SHORT_MS 200u
/* Kernel code slower than this (million instructions a second) is run by an emulator in KVM. */
#define CHECK_MIPS_MIN 20u

enum check_result { CHECK_PASS, CHECK_FAIL, CHECK_SKIP };

#define CHECK_STAGES 19
struct check_stage {
	const char *name; /* stable: key of the JSON output */
	const char *what; /* for people */
	bool required;
	enum check_result result;
	uint64_t ns;	  /* wall time */
	char reason[192]; /* of a failure or of being skipped; else empty or a note */
};

/* Repeated measurement in nanoseconds; n = 0: not measured. */
struct check_cost {
	uint64_t min, median, max;
	unsigned n;
};

struct check_guest {
	struct err err; /* set when the VM could not even be made; then no stage has run */
	struct check_stage stage[CHECK_STAGES];
	unsigned stage_cnt;
	double mips; /* kernel code, million instructions a second; 0 = unknown */
	struct check_cost create_vm, create_vcpu;
	struct check_cost exit_user, exit_kernel; /* per exit */
};

/* Stops at the first required stage that fails, and measures nothing beyond the speed. */
#define CHECK_QUICK 1u
/* Above this a VM's creation is worth a warning: on hardware it takes well below a millisecond. */
#define CHECK_CREATE_SLOW_NS 5000000u

/*
 * Opens @dev (CHECK_KVM_DEV, another path in tests) and runs every stage. Returns 0 when each
 * required stage has passed, else a negative errno with details in @g.
 */
int check_guest_run(const char *dev, unsigned flags, struct check_guest *g);

/* The first thing that failed, as the second half of a sentence; NULL = nothing did. */
const char *check_guest_reason(const struct check_guest *g, char *buf, size_t len);

/*
 * The quick form, for a caller whose own guest died strangely (KVM_EXIT_INTERNAL_ERROR, no
 * progress): milliseconds on a whole host. Returns 0, or -errno with the one clear sentence in @e.
 */
int kvm_probe(struct err *e);
/*
 * The same on a /dev/kvm that is open already (it stays the caller's; -1: opens it), from any
 * thread that has CHECK_SIGNAL to itself; ends with -ECANCELED at the next stage when *@give_up
 * becomes true (NULL is fine). -ENOTSUP: a stage failed; other errors: there was no guest to try it
 * with.
 */
int kvm_probe_fd(int kvm_fd, const atomic_bool *give_up, struct err *e);

/* ---- the host -------------------------------------------------------------------------------- */
enum check_level { CHECK_OK, CHECK_NOTE, CHECK_WARN, CHECK_BAD };

struct check_cap {
	const char *name; /* without KVM_CAP_ */
	int id;
	bool required;
	int value;	  /* of KVM_CHECK_EXTENSION; 0 = not there */
	const char *lost; /* what does not work without it */
};
#define CHECK_CAP_MAX 24

struct check_item {
	const char *name;
	enum check_level level;
	char value[96];
	char note[224]; /* what it means; may be empty */
};
#define CHECK_ITEM_MAX 40

struct check_limits {
	int vcpus_max, vcpus_recommended, vcpu_id_max, memslots, tsc_khz, phys_bits;
};

struct check_host {
	struct check_cap cap[CHECK_CAP_MAX];
	unsigned cap_cnt;
	struct check_limits limits;
	bool uring_works;
	char uring_reason[160]; /* why it does not, or which operations are missing */
	struct check_item item[CHECK_ITEM_MAX];
	unsigned item_cnt;
};

/*
 * Capabilities and limits of @dev (left empty when it cannot be opened), io_uring, settings. With
 * CHECK_QUICK only what the verdict needs: capabilities and io_uring.
 */
void check_host_run(const char *dev, unsigned flags, struct check_host *h);

/* ---- the report ------------------------------------------------------------------------------ */
struct check_report {
	const char *dev;
	struct check_guest guest;
	struct check_host host;
	bool can_run;
	char verdict[1200];
};

/* Fills can_run and verdict from guest and host. */
void check_verdict(struct check_report *r);
/* For people; colours only with @colour. */
void check_print_text(const struct check_report *r, FILE *f, bool colour);
/* One JSON object; returns 0 or -errno. */
int check_print_json(const struct check_report *r, FILE *f);

/*
 * Opens @dev for KVM and checks that it is one, API version 12. Returns the descriptor or -errno
 * with the sentence in @e.
 */
int check_open_kvm(const char *dev, struct err *e);

#endif
