/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as something to read: for processes that have one loop and no handlers. */
#ifndef HUSK_BASE_SIGFD_H
#define HUSK_BASE_SIGFD_H

#include <stddef.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * Blocks every signal in the calling thread (and in those that it makes from then on), but for what nobody can
 * block, the faults of a program itself (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS) and the @n signals of @open, and
 * returns a signalfd(2) of the blocked ones: non-blocking, close-on-exec, the caller's. -errno with @e set.
 */
int sigfd_open(const int *open, size_t n, struct err *e) MUST_CHECK;

#endif
