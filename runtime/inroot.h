/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths inside a container's root, resolved as the container would see them: an absolute symlink or
 * .. ends at that root, never above (openat2 with RESOLVE_IN_ROOT). The tree is the container's and
 * may be hostile.
 */
#ifndef HUSK_RUNTIME_INROOT_H
#define HUSK_RUNTIME_INROOT_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"

/* An open(2) inside of @root. A descriptor or -errno. */
int inroot_open(int root, const char *path, int flags, mode_t mode);

/*
 * Finds @path inside of @root as a place to mount on and makes what is missing of it: directories,
 * and at the end a directory or an empty file. Symlinks on the way are followed inside the root.
 * *ret is an O_PATH descriptor. 0 or -errno.
 */
int inroot_target(int root, const char *path, bool directory, int *ret) MUST_CHECK;

/*
 * Looks @arg0 up as execvp(3) would inside of @root, with @path_var as PATH and @cwd for relative
 * names. 0, or the runc-like sentence: -ENOENT (a caller's exit status is 127) or -EACCES (126).
 */
int inroot_find_exec(int root, const char *arg0, const char *path_var, const char *cwd,
		     struct err *e) MUST_CHECK;

#endif
