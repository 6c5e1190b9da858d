/* SPDX-License-Identifier: Apache-2.0 */
/* See assets.h. */
#include "runtime/assets.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"

#define KERNEL "vmlinux"
#define IMAGE  "rootfs.erofs"

/* <base>/<dir>/<name>, or @file where that is given. */
static int open_in(const char *file, const char *base, const char *dir, const char *name,
		   char *path, size_t cap)
{
	int n = file ? snprintf(path, cap, "%s", file)
		     : snprintf(path, cap, "%s%s%s/%s", base, *dir ? "/" : "", dir, name);
	int fd;

	if ((size_t)n >= cap)
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_both(const struct assets_want *w, const char *base, const char *kdir,
		     const char *idir, struct assets *a, struct err *e)
{
	a->kernel_fd = open_in(w->kernel, base, kdir, KERNEL, a->kernel, sizeof(a->kernel));
	if (a->kernel_fd < 0)
		return err_sys(e, a->kernel_fd, "guest kernel '%.500s'", a->kernel);
	a->image_fd = open_in(w->image, base, idir, IMAGE, a->image, sizeof(a->image));
	if (a->image_fd < 0) {
		(void)close(a->kernel_fd);
		a->kernel_fd = -1;
		return err_sys(e, a->image_fd, "mini OS image '%.500s'", a->image);
	}
	return 0;
}

static int open_kernel(const struct assets_want *w, struct assets *ret, struct err *e)
{
	static const struct {
		const char *kernel, *image;
	} places[] = {
	    {"../lib/husk", "../lib/husk"}, /* installed */
	    {"../../kernel", ".."},	    /* build/<mode>/bin */
	};
	char self[PATH_MAX], *slash;
	struct err first = {0};
	ssize_t n;

	if (w->dir || (w->kernel && w->image))
		return open_both(w, w->dir ? w->dir : "", "", "", ret, e);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return err_sys(e, -errno, "/proc/self/exe");
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (open_both(w, self, places[i].kernel, places[i].image, ret, &first) == 0)
			return 0;
	return err_set(e, first.code,
		       "%s (nor in %s/../lib/husk; --assets DIR names another place)", first.msg,
		       self);
}

int assets_open(const struct assets_want *w, struct assets *ret, struct err *e)
{
	ret->initrd_fd = -1;
	if (w->initrd) {
		ret->initrd_fd = open(w->initrd, O_RDONLY | O_CLOEXEC);
		if (ret->initrd_fd < 0)
			return err_sys(e, -errno, "initrd '%.500s'", w->initrd);
	}
	return open_kernel(w, ret, e);
}
