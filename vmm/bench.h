/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Benchmarks of commands that start something: `vmm bench boot` and `husk bench`.
 *
 * A subject is a way to start a guest or a container: one or two commands that run one after the
 * other, whose output is watched. A plan has several subjects; every round runs each of them once,
 * so that what the machine does meanwhile hits all alike. All times are CLOCK_MONOTONIC
 * nanoseconds, taken by this process, or by a subject whose report says so (the clock is the
 * same).
 *
 * One thread for each run of a round that goes on at the same time; results are joined before the
 * next.
 */
#ifndef HUSK_VMM_BENCH_H
#define HUSK_VMM_BENCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/err.h"
#include "vmm/report.h"

/* Moments of a run, in nanoseconds since its command was started. The first are report.h's. */
enum {
	BENCH_FIRST = PHASE_COUNT, /* the awaited output was read */
	BENCH_CREATED,		   /* the first of two commands had returned */
	BENCH_STARTED,		   /* so had the second */
	BENCH_END,		   /* the process is gone */
	BENCH_MARKS,
};

/* Counts of a run. */
enum {
	BENCH_IO,			  /* returns of KVM_RUN: report.h's reasons, in its order */
	BENCH_CPU_US = REPORT_EXIT_COUNT, /* user and system time, the guest's in it */
	BENCH_PSS_KIB,			  /* beyond guest RAM and mapped images */
	BENCH_RAM_KIB,			  /* guest RAM that is present */
	BENCH_GUEST_KIB,		  /* memory that the guest's kernel has */
	BENCH_GUEST_FREE_KIB,		  /* ... and free of it when the agent answered */
	BENCH_COUNTS,
};
#define BENCH_NONE UINT64_MAX

struct bench_run {
	uint64_t at[BENCH_MARKS];     /* 0 = it did not come, or nobody says when */
	uint64_t count[BENCH_COUNTS]; /* BENCH_NONE = not known */
};

/* How a subject tells of its phases. */
enum bench_tells {
	BENCH_TELLS_NOTHING,
	BENCH_TELLS_REPORT,	 /* --boot-report=json on stderr */
	BENCH_TELLS_FIRECRACKER, /* its boot timer, in its log (stdout or stderr) */
	BENCH_TELLS_CLOUD,	 /* Cloud Hypervisor's debug port, in its log (stderr) */
};

#define BENCH_STEPS	  2u
#define BENCH_MEMORY_RUNS 5u

/*
 * A command's words end with NULL; "{id}" in a word becomes a name that no other run has. What
 * belongs to the subject is freed by bench_plan_free().
 */
struct bench_subject {
	char *name;
	char *
	    *step[BENCH_STEPS]; /* the timed commands; all but the last are awaited to their end */
	unsigned steps;
	char **before, **after; /* untimed, around each run (@after also when it failed); or NULL */
	char **prepare, **undo; /* untimed, once around all runs, with id 0; or NULL */
	int stop; /* signal that ends the last command once the output came; 0: it ends by itself */
	enum bench_tells tells;
	uint64_t ram;  /* bytes of the guest's memory, to tell it from the VMM's; 0 = no guest */
	bool in_child; /* it is a child of the command that has the guest */
	struct bench_run *run; /* plan->runs of them */
	unsigned ok;	       /* how many of them came to their output */
	bool optional; /* a peer whose figures stay blank when its program is not installed */
	bool absent;   /* and it is not; bench_run_plan() sets it */
};

#define BENCH_SUBJECTS_MAX 8u

struct bench_plan {
	const char *what;  /* "boot", "run", ... */
	const char *until; /* the output that is awaited; NULL = the first byte */
	unsigned runs, warm_up, parallel;
	unsigned timeout_s;
	bool memory; /* BENCH_MEMORY_RUNS more of each (@runs at most), to look at memory */
	struct bench_subject subject[BENCH_SUBJECTS_MAX];
	unsigned subjects;
	uint64_t create_vm_ns; /* KVM_CREATE_VM alone, median; 0 = there is no KVM */
};

/* Names of marks and counts: JSON and CSV keys (stable), and words for people. */
const char *bench_mark_key(unsigned mark);
const char *bench_mark_text(unsigned mark);
const char *bench_count_key(unsigned count);

/* The next subject of the plan, zeroed, or NULL with the sentence. */
struct bench_subject *bench_add(struct bench_plan *p, const char *name, struct err *e);
/* Appends copies of the words (the last is NULL) to a command. 0 or -ENOMEM. */
int bench_words(char ***argv, ...) MUST_CHECK;
int bench_words_v(char ***argv, char *const *words) MUST_CHECK;
void bench_free_words(char **argv); /* NULL is fine */
/* Frees what the subjects own; the plan itself is the caller's. */
void bench_plan_free(struct bench_plan *p);

/*
 * Carries the plan out, with a line of progress on @tty (NULL: silent). A run that fails ends it
 * with a sentence that names the subject and has the last line that it wrote.
 */
int bench_run_plan(struct bench_plan *p, FILE *tty, struct err *e) MUST_CHECK;

/* One run, in bench_exec.c: @id for "{id}". */
int bench_exec(const struct bench_plan *p, const struct bench_subject *s, unsigned id, bool memory,
	       struct bench_run *ret, struct err *e) MUST_CHECK;
/* An untimed command: its status has to be 0. */
int bench_exec_aside(const struct bench_plan *p, char *const *argv, unsigned id,
		     struct err *e) MUST_CHECK;
/*
 * What a process uses of memory, unless /proc does not tell. @ram: bytes of the guest's. Proportional, but for the program
 * that the bench runs itself: what is present of that counts whole, as it would without the bench.
 */
void bench_memory(int pid, uint64_t ram, struct bench_run *ret);
/* The same of the text of its smaps; @self: the bench's program, or "". */
void bench_smaps(const char *text, uint64_t ram, const char *self, struct bench_run *ret);

/* Parsers of what subjects tell; @t0 is the clock at the command's start. Unknown text changes nothing. */
void bench_parse(enum bench_tells tells, const char *text, uint64_t t0, struct bench_run *ret);

/* Results. */
void bench_print_table(const struct bench_plan *p, FILE *f);
int bench_print_json(const struct bench_plan *p, FILE *f) MUST_CHECK;
void bench_print_csv(const struct bench_plan *p, FILE *f);
void bench_print_svg(const struct bench_plan *p, FILE *f);

struct bench_stat;
/* Statistics of one mark, in ns, over a subject's runs that have it. */
void bench_mark_stat(const struct bench_plan *p, const struct bench_subject *s, unsigned mark,
		     struct bench_stat *ret);
void bench_count_stat(const struct bench_plan *p, const struct bench_subject *s, unsigned count,
		      struct bench_stat *ret);
/* Of the ratios first subject / @s within each round. */
void bench_ratio_stat(const struct bench_plan *p, const struct bench_subject *s, unsigned mark,
		      struct bench_stat *ret);

/* The host: what figures depend on, as a JSON object that the caller puts. */
struct json_object;
struct json_object *bench_host_json(const struct bench_plan *p);
void bench_host_print(const struct bench_plan *p, FILE *f);
/* Median of some KVM_CREATE_VM, in ns; 0 = there is no KVM. */
uint64_t bench_create_vm(void);

/* The options that every bench has, as the parser's state; see bench_opts.c. */
struct bench_opts {
	unsigned runs, warm_up, parallel, timeout_s;
	bool memory, json, quiet;
	const char *csv, *svg, *until;
	const char *peer[BENCH_SUBJECTS_MAX];
	unsigned peers;
};
/* @name without dashes; @arg NULL for flags. 1 = taken, 0 = not one of these, negative with @e. */
int bench_opt(struct bench_opts *o, const char *name, const char *arg, struct err *e) MUST_CHECK;
extern const char bench_opts_help[];
/* Runs the plan by @o and prints what is asked for. Returns 0 or negative with @e. */
int bench_main(struct bench_plan *p, const struct bench_opts *o, struct err *e) MUST_CHECK;

#endif
