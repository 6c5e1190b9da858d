/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a program to its end: input from memory, output kept for the error's sentence, a deadline.
 * For hooks, on the host and in the guest. Blocks; any thread of a process that may fork.
 */
#ifndef HUSK_BASE_PROGRAM_H
#define HUSK_BASE_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct program {
	const char *what; /* begins the error's sentence: "hook /bin/x" */
	const char *path; /* executed as it is, no lookup */
	char *const *argv;
	char *const *envp; /* NULL: the caller's own */
	const char *dir;   /* to be started in; NULL: the caller's */
	const char *input; /* its stdin; stdout and stderr are one pipe to us */
	size_t input_len;
	uint64_t timeout_ns; /* 0 = none; then SIGKILL and an error */
	/* In the child, before it executes; may be NULL. An error is what the program says. */
	int (*prepare)(void *arg, struct err *e);
	void *arg;
};

/*
 * 0 when it ends with status 0. -ECANCELED for another end ("what: exit status 3: the last it said")
 * and for the deadline, -errno where it cannot be run. What it leaves running is not waited for.
 */
int program_run(const struct program *p, struct err *e) MUST_CHECK;

#endif
