/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of this program's making. */
#ifndef HUSK_BASE_THREAD_H
#define HUSK_BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>
#include "base/compiler.h"

#define THREAD_STACK 262144u

/*
 * Starts @fn(@arg) with all signals blocked, since those of the process are the loop thread's business,
 * and with a stack of @stack bytes. The C library's usual 8 MiB would get a huge page on many hosts: 2
 * MiB to clear and to keep for a thread that uses two pages. 0 or -errno.
 */
int thread_start(pthread_t *ret, size_t stack, void *(*fn)(void *arg), void *arg) MUST_CHECK;

#endif
