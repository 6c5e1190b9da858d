/* SPDX-License-Identifier: Apache-2.0 */
/* See submounts.h. */
#include "runtime/submounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "base/mountinfo.h"
#include "runtime/inroot.h"

#define MOUNTINFO_MAX (8u << 20) /* of hosts with thousands of containers */
#define STACKED_MAX   64	 /* mounts on one directory, one over the other */

static const struct {
	const char *type, *guest;
} kernels[] = {{"proc", "/proc"},
	       {"sysfs", "/sys"},
	       {"devtmpfs", "/dev"},
	       {"devpts", "/dev/pts"},
	       {"cgroup2", "/sys/fs/cgroup"},
	       {"cgroup", NULL},
	       {"autofs", NULL},
	       {"binfmt_misc", NULL},
	       {"bpf", NULL},
	       {"configfs", NULL},
	       {"debugfs", NULL},
	       {"efivarfs", NULL},
	       {"fusectl", NULL},
	       {"mqueue", NULL},
	       {"nfsd", NULL},
	       {"nsfs", NULL},
	       {"pstore", NULL},
	       {"resctrl", NULL},
	       {"rpc_pipefs", NULL},
	       {"securityfs", NULL},
	       {"selinuxfs", NULL},
	       {"smackfs", NULL},
	       {"tracefs", NULL},
	       {"xenfs", NULL}};

/* What of @path is below @base; NULL when it is not, or is @base. */
static const char *below(const char *path, const char *base)
{
	size_t n = strlen(base);

	while (n && base[n - 1] == '/')
		n--;
	if (strncmp(path, base, n) != 0 || path[n] != '/' || !path[n + 1])
		return NULL;
	return path + n + 1;
}

static int add(struct submounts *s, const char *path, const char *guest)
{
	struct submount *v;
	size_t len = strlen(path);

	for (size_t i = 0; i < s->cnt; i++) {
		size_t n = strlen(s->v[i].path);

		if (!strncmp(path, s->v[i].path, n) && (!path[n] || path[n] == '/'))
			return 0; /* it goes with that one */
	}
	/* Mounted before what is above it now: that one goes, and it with it. */
	for (size_t i = s->cnt; i-- > 0;)
		if (!strncmp(s->v[i].path, path, len) && s->v[i].path[len] == '/') {
			free(s->v[i].path);
			s->v[i] = s->v[--s->cnt];
		}
	v = reallocarray(s->v, s->cnt + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	s->v = v;
	v[s->cnt] = (struct submount){.path = strdup(path), .guest = guest};
	return v[s->cnt].path ? (s->cnt++, 0) : -ENOMEM;
}

int submounts_parse(struct submounts *ret, const char *mountinfo, const char *base)
{
	struct mountinfo m;
	int rc = 0;

	*ret = (struct submounts){0};
	while (rc == 0 && mountinfo_next(&mountinfo, &m)) {
		const char *path = below(m.point, base);

		for (size_t i = 0; path && rc == 0 && i < ARRAY_LEN(kernels); i++)
			if (!strcmp(m.type, kernels[i].type))
				rc = add(ret, path, !strcmp(m.root, "/") ? kernels[i].guest : NULL);
	}
	if (rc < 0)
		submounts_free(ret);
	return rc;
}

int submounts_find(struct submounts *ret, const char *path, struct err *e)
{
	auto_free char *text = NULL;
	auto_free char *real = realpath(path, NULL);
	int rc = real ? fd_read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL)
		      : -errno;

	*ret = (struct submounts){0};
	if (rc == 0)
		rc = submounts_parse(ret, text, real);
	return rc < 0 ? err_sys(e, rc, "mounts below '%s'", path) : 0;
}

/* One mount of what lies on @path: 1 = there was one, 0 = it is a plain directory now. */
static int cut_one(int tree, const char *path)
{
	auto_fd fd = inroot_open(tree, path, O_PATH | O_NOFOLLOW, 0);
	char self[32];

	if (fd < 0) /* covered by another mount: nobody gets there */
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 0 : fd;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (umount2(self, MNT_DETACH) == 0)
		return 1;
	return errno == EINVAL ? 0 : -errno; /* not the root of a mount */
}

/* Several may be stacked, or hidden in what was on top. */
int submounts_cut(const struct submounts *s, int tree, struct err *e)
{
	for (size_t i = 0; i < s->cnt; i++) {
		int rc = 1;

		for (int k = 0; rc > 0 && k < STACKED_MAX; k++)
			rc = cut_one(tree, s->v[i].path);
		if (rc != 0)
			return err_sys(e, rc < 0 ? rc : -EBUSY, "keeping the host's /%s out",
				       s->v[i].path);
	}
	return 0;
}

void submounts_free(struct submounts *s)
{
	for (size_t i = 0; i < s->cnt; i++)
		free(s->v[i].path);
	free(s->v);
	*s = (struct submounts){0};
}
