/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of /proc/PID/mountinfo (proc(5)). Pure. */
#ifndef HUSK_BASE_MOUNTINFO_H
#define HUSK_BASE_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct mountinfo {
	char root[PATH_MAX];  /* what of the file system, "/" = all */
	char point[PATH_MAX]; /* where it is mounted */
	char type[64];
	const char *super; /* the file system's options: in the text, super_len bytes */
	size_t super_len;
};

/*
 * The next line of *@text that is whole, which *@text then is behind; false at the end. Paths are as
 * they are, without the file's escapes.
 */
bool mountinfo_next(const char **text, struct mountinfo *ret);

#endif
