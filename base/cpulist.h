/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of processors as the kernel and the OCI spec write them: "0-3,8" (cpuset(7)). Pure. */
#ifndef HUSK_BASE_CPULIST_H
#define HUSK_BASE_CPULIST_H

#include "base/compiler.h"

#define CPULIST_MAX 65536u /* the highest number, and how many at most */

/*
 * Calls @each for every range, in the list's order; a newline at the end is fine. 0, or -EINVAL for
 * what is no list; then @each may have been called for its beginning.
 */
int cpulist_parse(const char *list, void (*each)(void *arg, unsigned first, unsigned last),
		  void *arg) MUST_CHECK;

#endif
