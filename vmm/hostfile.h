/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host's kernel says of itself in small files. No state; any thread.
 */
#ifndef HUSK_VMM_HOSTFILE_H
#define HUSK_VMM_HOSTFILE_H

#include <stdbool.h>
#include <stddef.h>

/* The first line of @path in @buf, without its end; false = not there (and @buf is empty). */
bool host_line(const char *path, char *buf, size_t len);
/* "a [b] c" becomes "b". */
void host_chosen(char *s);
/* Does the first processor have the flag, as /proc/cpuinfo calls it? */
bool host_cpu_flag(const char *flag);
/* The first processor's line @key of /proc/cpuinfo. */
bool host_cpu_line(const char *key, char *buf, size_t len);

#endif
