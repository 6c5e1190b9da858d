/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cgroup linux.cgroupsPath means, and where the host's hierarchies are: text in, names out,
 * nothing touched. cgroup.c does the rest.
 */
#ifndef HUSK_RUNTIME_CGPATH_H
#define HUSK_RUNTIME_CGPATH_H

#include <limits.h>
#include <stdbool.h>
#include "base/err.h"

#define CGPATH_MOUNTS_MAX 24

/* A container's cgroup by name. */
struct cgpath {
	char path[PATH_MAX / 2]; /* below a hierarchy's root, "/a/b"; "" = none */
	bool relative;		 /* to the caller's own cgroup, not to the root */
	/* The systemd driver's; "" for cgroupfs. path is then where systemd will put the unit. */
	char slice[256], unit[256];
};

/*
 * @text: linux.cgroupsPath or NULL. @systemd: the caller wants that driver: "slice:prefix:name", and
 * without a path system.slice:husk:@id; else a path of directories.
 */
int cgpath_parse(struct cgpath *ret, const char *text, const char *id, bool systemd,
		 struct err *e) MUST_CHECK;
/* "a-b.slice" is in "/a.slice/a-b.slice" (systemd.slice(5)); "-.slice" in "". */
int cgpath_of_slice(const char *slice, char *buf, size_t len, struct err *e) MUST_CHECK;

struct cgpath_mount {
	char point[256];	/* where it is mounted */
	char root[256];		/* what of the hierarchy, "/" = all */
	char controllers[128];	/* of v1: "cpu,cpuacct", "name=systemd"; "" = v2's */
	char own[PATH_MAX / 2]; /* the caller's cgroup in it */
};

struct cgpath_host {
	unsigned version; /* 2: everything is in the one v2 hierarchy; 1: else; 0: none mounted */
	struct cgpath_mount m[CGPATH_MOUNTS_MAX];
	unsigned cnt;
};

/* @mountinfo, @own: the texts of /proc/self/mountinfo and /proc/self/cgroup. Others are skipped. */
void cgpath_host_parse(struct cgpath_host *ret, const char *mountinfo, const char *own);

/* Directory of @p in @m: -ENAMETOOLONG when it does not fit. */
int cgpath_dir(const struct cgpath *p, const struct cgpath_mount *m, char *buf,
	       size_t len) MUST_CHECK;

#endif
