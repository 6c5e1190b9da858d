/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's mount tree. See mounts.h.
 *
 * Trees are cloned detached (open_tree), get their flags there (mount_setattr) and are put in place
 * by descriptor (move_mount): no path is looked up twice, and none outside of the root by a name
 * that the container controls.
 */
#include "runtime/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "runtime/inroot.h"

static int clone_tree(const char *path, bool recursive)
{
	int fd = open_tree(
	    AT_FDCWD, path,
	    (unsigned)(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0)));

	return fd < 0 ? -errno : fd;
}

static int set_attr(int tree, bool recursive, uint64_t set, uint64_t clr)
{
	struct mount_attr a = {.attr_set = set, .attr_clr = clr, .propagation = MS_PRIVATE};

	return mount_setattr(tree, "", (unsigned)(AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0)),
			     &a, sizeof(a)) < 0
		   ? -errno
		   : 0;
}

static int attach(int tree, int target)
{
	return move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
		       0
		   ? -errno
		   : 0;
}

/* Is @path @dir itself or below it, both absolute and as the spec writes them? */
static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n > 1 && dir[n - 1] == '/')
		n--;
	return !strncmp(path, dir, n) && (path[n] == '/' || path[n] == '\0');
}

static bool covered(struct json_object *mounts, size_t upto, const char *path)
{
	bool is = false;

	/* The last one that covers it decides: a bind mount over a tmpfs is the host's again. */
	for (size_t i = 0; mounts && i < upto; i++) {
		struct json_object *m = json_object_array_get_idx(mounts, i);

		if (is_below(path, json_str(m, "destination", "")))
			is = spec_mount_is_guest(m);
	}
	return is;
}

bool mounts_is_guests(const struct spec *s, const char *path)
{
	struct json_object *mounts = json_at(s->root, "mounts");

	return covered(mounts, mounts ? json_object_array_length(mounts) : 0, path);
}

static int bind_one(const struct spec *s, int root, size_t i, struct json_object *m, struct err *e)
{
	const char *dest = json_str(m, "destination", ""), *src = json_str(m, "source", "");
	struct spec_bind opt;
	char full[PATH_MAX];
	auto_fd tree = -1;
	auto_fd target = -1;
	struct stat st;
	int rc;

	if ((size_t)snprintf(full, sizeof(full), "%s%s%s", src[0] == '/' ? "" : s->bundle,
			     src[0] == '/' ? "" : "/", src) >= sizeof(full))
		return err_set(e, -ENAMETOOLONG, "mounts[%zu]: source: too long", i);
	spec_bind_options(m, &opt);
	tree = clone_tree(full, opt.recursive);
	if (tree < 0)
		return err_sys(e, tree, "mounts[%zu]: source '%s'", i, full);
	if (fstat(tree, &st) < 0)
		return err_sys(e, -errno, "mounts[%zu]: source '%s'", i, full);
	/* Flags are the mount's own; what is mounted below keeps its own (no rro and the like). */
	rc = set_attr(tree, opt.recursive, 0, 0);
	if (rc == 0 && opt.attr_set)
		rc = set_attr(tree, false, opt.attr_set, 0);
	if (rc < 0)
		return err_sys(e, rc, "mounts[%zu]: flags of '%s'", i, full);
	rc = inroot_target(root, dest, S_ISDIR(st.st_mode), &target);
	if (rc == 0)
		rc = attach(tree, target);
	return rc < 0 ? err_sys(e, rc, "mounts[%zu]: mounting '%s' on '%s'", i, full, dest) : 0;
}

static int build_all(const struct spec *s, int root, struct err *e)
{
	struct json_object *mounts = json_at(s->root, "mounts");

	for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++) {
		struct json_object *m = json_object_array_get_idx(mounts, i);
		const char *dest = json_str(m, "destination", "");
		auto_fd target = -1;
		int rc;

		if (!spec_mount_is_guest(m)) {
			rc = bind_one(s, root, i, m, e);
			if (rc < 0)
				return rc;
			continue;
		}
		if (covered(mounts, i, dest)) /* its mount point will be in the guest's own mount */
			continue;
		rc = inroot_target(root, dest, true, &target);
		/* A read-only rootfs without the directory: the guest says so, with the mount's
		 * name. */
		if (rc < 0 && rc != -EROFS)
			return err_sys(e, rc, "mounts[%zu]: destination '%s'", i, dest);
	}
	return 0;
}

int mounts_build(const struct spec *s, int *ret_root, struct err *e)
{
	auto_fd tree = -1;
	auto_fd root = -1;
	int rc;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, -errno, "making the mount namespace private");
	tree = clone_tree(s->rootfs, true);
	if (tree < 0)
		return err_sys(e, tree, "rootfs '%s'", s->rootfs);
	rc = set_attr(tree, true, 0, 0);
	if (rc < 0)
		return err_sys(e, rc, "rootfs '%s'", s->rootfs);
	root = open(s->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, -errno, "rootfs '%s'", s->rootfs);
	rc = attach(tree, root);
	if (rc < 0)
		return err_sys(e, rc, "rootfs '%s': mounting it on itself", s->rootfs);
	rc = build_all(s, tree, e);
	if (rc < 0)
		return rc;
	if (s->readonly) {
		rc = set_attr(tree, false, MOUNT_ATTR_RDONLY, 0);
		if (rc < 0)
			return err_sys(e, rc, "rootfs '%s': making it read-only", s->rootfs);
	}
	*ret_root = fd_take(&tree);
	return 0;
}

int mounts_pivot(int root, struct err *e)
{
	if (fchdir(root) < 0)
		return err_sys(e, -errno, "entering the rootfs");
	/* The old root ends up on top of the new one and is taken away from there. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(e, -errno, "pivot_root into the rootfs");
	if (umount2(".", MNT_DETACH) < 0)
		return err_sys(e, -errno, "letting go of the host's root");
	if (chdir("/") < 0)
		return err_sys(e, -errno, "entering the rootfs");
	return 0;
}
