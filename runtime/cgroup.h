/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's cgroup on the host (v2, cgroupfs): where the sandbox process is found by stats
 * and out-of-memory watchers. Its limits are the spec's plus the declared overhead of the VMM; the
 * exact limits hold inside the guest.
 */
#ifndef HUSK_RUNTIME_CGROUP_H
#define HUSK_RUNTIME_CGROUP_H

#include <stdint.h>
#include "base/err.h"
#include "runtime/spec.h"

#define CGROUP_OVERHEAD                                                                            \
	(64ull << 20) /* bytes: the VMM beyond guest memory, page tables, 9p buffers */

/*
 * Where linux.cgroupsPath is: *ret an absolute path, or NULL when the spec names none; *ret_keep
 * its deepest ancestor that is there already. Both malloc'd. Refuses hosts without cgroup v2 and
 * the form of systemd.
 */
int cgroup_resolve(const struct spec *s, char **ret, char **ret_keep, struct err *e) MUST_CHECK;
/* Makes it, with limits for a VM of @memory bytes, and moves the calling process in. */
int cgroup_enter(const char *path, const struct spec *s, uint64_t memory, struct err *e) MUST_CHECK;
/* Kills what is left in it and removes it and its now empty parents below @keep. 0 or -errno. */
int cgroup_remove(const char *path, const char *keep);

/*
 * For a sandbox process that has to undo its own making after its pivot: a descriptor of the
 * hierarchy to hold (or -errno), and with it: leave the cgroup at @path for the root one and remove
 * it.
 */
int cgroup_hold(void);
void cgroup_undo(int hold, const char *path, const char *keep);

#endif
