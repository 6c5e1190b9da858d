/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's cgroup on the host: where the sandbox process is found by statistics and by
 * watchers for out-of-memory. cgroup v2 or the hierarchies of v1, by paths of our own (cgroupfs) or
 * as a scope of systemd; how it is named is cgpath.h, what its limits are is cglimits.h.
 *
 * A struct cgroup is plain data that its holder owns; between commands it lives in state.json.
 */
#ifndef HUSK_RUNTIME_CGROUP_H
#define HUSK_RUNTIME_CGROUP_H

#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "runtime/cglimits.h"
#include "runtime/json.h"
#include "runtime/spec.h"

#define CGROUP_DIRS_MAX 24

struct cgroup_dir {
	char *mount;	   /* of the hierarchy: "/sys/fs/cgroup" */
	char *path;	   /* of the cgroup: absolute, below mount */
	char *keep;	   /* its deepest ancestor that was there before us */
	char *controllers; /* of v1: "cpu,cpuacct"; "" = v2 */
};

struct cgroup {
	unsigned version;			/* 1 or 2; 0 = none of its own: the caller's */
	char *slice, *unit;			/* of systemd; NULL = cgroupfs */
	struct cgroup_dir dir[CGROUP_DIRS_MAX]; /* one with v2 */
	unsigned cnt;
};

void cgroup_free(struct cgroup *c); /* a zeroed one is fine */

/* A new reference, NULL for none; and back. What no cgroup of ours can be is -EINVAL. */
struct json_object *cgroup_to_json(const struct cgroup *c);
int cgroup_from_json(struct cgroup *ret, struct json_object *o, struct err *e) MUST_CHECK;

/*
 * Where the container of @s and @id is to be, by the host's hierarchies; makes nothing. @systemd:
 * --systemd-cgroup. -EBUSY: there are processes in it, and removing a container ends all that is in
 * its cgroup.
 */
int cgroup_resolve(struct cgroup *ret, const struct spec *s, const char *id, bool systemd,
		   struct err *e) MUST_CHECK;

/* Makes it with limits and moves the calling process, which has one thread, in. */
int cgroup_enter(const struct cgroup *c, const char *id, const struct cglimits *l,
		 struct err *e) MUST_CHECK;
/* Changes its limits: what @l has not, stays. For `husk update`. */
int cgroup_apply(const struct cgroup *c, const struct cglimits *l, struct err *e) MUST_CHECK;
/* Moves process @pid (0 = the calling one) in: stand-ins of execs. 0 or -errno; fine with none. */
int cgroup_join(const struct cgroup *c, pid_t pid) MUST_CHECK;
/*
 * Kills what is left in it and removes it and its now empty parents up to what was there before.
 * 0 or -errno; what is not there is fine.
 */
int cgroup_remove(const struct cgroup *c);

/*
 * For a sandbox process that has to undo its own making after its pivot: holds on the hierarchies,
 * and with them: leave the cgroup for the root one and remove it; a scope is left for systemd to
 * remove. 0 when it is gone; without capabilities nobody can remove what lies in the hierarchy's
 * root itself.
 */
struct cgroup_hold {
	int fd[CGROUP_DIRS_MAX];
	unsigned cnt;
};
void cgroup_hold(struct cgroup_hold *h, const struct cgroup *c);
int cgroup_undo(const struct cgroup_hold *h, const struct cgroup *c);
void cgroup_let_go(struct cgroup_hold *h);

#endif
