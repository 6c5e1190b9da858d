/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is mounted on the host below a tree that is bound recursively. File systems that are
 * windows into the host's kernel (proc, sysfs, the device tree, ...) are not to reach a guest, whatever
 * of the tree it has: its own kernel could write /proc/sys/kernel/core_pattern through the file server.
 * They are taken out of the tree; where the guest has one of the same kind, it gets its own in their
 * place (mounts.c).
 */
#ifndef HUSK_RUNTIME_SUBMOUNTS_H
#define HUSK_RUNTIME_SUBMOUNTS_H

#include <stddef.h>
#include "base/err.h"

struct submount {
	char *path;	   /* below the tree's root, without a slash at its head */
	const char *guest; /* where the guest has its own; NULL: nowhere */
};

struct submounts {
	struct submount *v;
	size_t cnt;
};

/*
 * Those of the text @mountinfo that are the kernel's and below @base, an absolute path without links;
 * each once, and none that is below another. 0 or -ENOMEM.
 */
int submounts_parse(struct submounts *ret, const char *mountinfo, const char *base) MUST_CHECK;
/* The same of this process's mounts; @path may have links. */
int submounts_find(struct submounts *ret, const char *path, struct err *e) MUST_CHECK;
/* Takes them out of @tree, a private copy of the path that is mounted already. */
int submounts_cut(const struct submounts *s, int tree, struct err *e) MUST_CHECK;
void submounts_free(struct submounts *s);

#endif
