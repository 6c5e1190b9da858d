/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox process gives up before the guest's first instruction, thread by thread:
 * capabilities and system calls. docs/architecture.md has the table of threads.
 *
 * The order matters: confine_process() while there is one thread, then the network watcher, then
 * confine_no_net(), then the file workers (they inherit the capabilities for files), then confine_no_caps() on the loop's thread, then the vCPU
 * threads (they inherit none), each thread with confine_thread() as its first or, on the loop, its
 * last act before the guest runs.
 */
#ifndef HUSK_RUNTIME_CONFINE_H
#define HUSK_RUNTIME_CONFINE_H

#include <linux/filter.h>
#include <stddef.h>
#include "base/err.h"

enum confine_role {
	CONFINE_LOOP,
	CONFINE_VCPU,
	CONFINE_FILES,
	CONFINE_NET,
	CONFINE_STANDIN,
	CONFINE_ROLES
};

/*
 * The whole process, while it has one thread: no new privileges, capabilities only for what file
 * workers do, the rest out of the bounding set, the handler of forbidden system calls. It writes
 * one line to where log_current() points now and ends the process with status 128 + SIGSYS.
 */
int confine_process(struct err *e) MUST_CHECK;

/*
 * The network watcher, as its first act: CAP_NET_ADMIN alone, and its system calls. Then the thread
 * that started it: no CAP_NET_ADMIN any more.
 */
int confine_net_thread(struct err *e) MUST_CHECK;
int confine_caps_net(struct err *e) MUST_CHECK; /* its first half */
int confine_no_net(struct err *e) MUST_CHECK;

/* The calling thread loses every capability, and so do threads that it starts later. */
int confine_no_caps(struct err *e) MUST_CHECK;

/*
 * The calling thread, and threads that it starts later, may do the role's system calls only. A
 * file worker that another one has started has its filter already, and keeps it. After
 * confine_process().
 */
int confine_thread(enum confine_role role, struct err *e) MUST_CHECK;

/*
 * A process that stands for an exec (standin.h), once it is alone: no capabilities, no new
 * privileges, its few system calls. A forbidden one kills it.
 */
int confine_standin(struct err *e) MUST_CHECK;

#define CONFINE_PROG_MAX 1024u
/*
 * The filter program of a role for this process, at most CONFINE_PROG_MAX instructions. Returns
 * their number, or -E2BIG.
 */
int confine_program(enum confine_role role, struct sock_filter *prog) MUST_CHECK;

/* ---- the rules (confine_rules.c) ------------------------------------------------------------ */

/* A comparison looks at the low word: every argument that is compared is an int for the kernel. */
enum confine_cmp_kind { CONFINE_CMP_VALUE, CONFINE_CMP_PID, CONFINE_CMP_RTSIG };
struct confine_cmp {
	unsigned char arg;
	unsigned char kind; /* val is meant as it is; our process id; SIGRTMIN + val */
	unsigned mask, val; /* (arg & mask) == val */
};

/* Rules of one system call stand together; any of them is enough, with all of its comparisons. */
struct confine_rule {
	short nr;
	unsigned char cnt;
	unsigned char err; /* not allowed but answered: errno, 0 = allowed */
	struct confine_cmp cmp[2];
};

struct confine_rules {
	const char *what; /* "file worker": for messages */
	const struct confine_rule *rule;
	size_t cnt;
};
/* One of the role's own, and those of every thread. */
extern const struct confine_rules confine_rules[CONFINE_ROLES];
extern const struct confine_rules confine_rules_all;

#endif
