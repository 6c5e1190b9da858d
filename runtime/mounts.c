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
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "base/fsmake.h"
#include "runtime/disks.h"
#include "runtime/inroot.h"
#include "runtime/submounts.h"

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
			is = spec_mount_kind(m) == SPEC_MOUNT_GUEST;
	}
	return is;
}

bool mounts_is_guests(const struct spec *s, const char *path)
{
	struct json_object *mounts = json_at(s->root, "mounts");

	return covered(mounts, mounts ? json_object_array_length(mounts) : 0, path);
}

/* What a file server cannot carry across: another kernel would be at its other end. */
static int check_source(size_t i, const char *path, const struct stat *st, struct err *e)
{
	const mode_t mode = st->st_mode;
	const char *what = S_ISSOCK(mode)   ? "a socket"
			   : S_ISFIFO(mode) ? "a FIFO"
			   : S_ISBLK(mode)  ? "a block device"
					    : NULL;

	if (S_ISCHR(mode) && !disks_guest_has(major(st->st_rdev), minor(st->st_rdev)))
		what = "a character device";
	if (!what)
		return 0;
	return err_set(e, -ENOTSUP,
		       "mounts[%zu]: source '%s': %s of the host does not reach into the VM%s", i,
		       path, what, S_ISBLK(mode) ? " by a mount: list it in linux.devices" : "");
}

static int source_path(const struct spec *s, size_t i, const char *src, char *out, size_t cap,
		       struct err *e)
{
	if ((size_t)snprintf(out, cap, "%s%s%s", src[0] == '/' ? "" : s->bundle,
			     src[0] == '/' ? "" : "/", src) >= cap)
		return err_set(e, -ENAMETOOLONG, "mounts[%zu]: source: too long", i);
	return 0;
}

/*
 * Files of the host's kernel (/proc, /sys, /dev and what hangs there) are never exported: the guest
 * has its own under the same path, and the agent mounts that (agent/mounts.c).
 */
static bool is_kernels(const char *path)
{
	static const long magics[] = {PROC_SUPER_MAGIC,	   SYSFS_MAGIC,	  CGROUP_SUPER_MAGIC,
				      CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC,
				      SECURITYFS_MAGIC,	   BPF_FS_MAGIC,  DEVPTS_SUPER_MAGIC,
				      EFIVARFS_MAGIC,	   PSTOREFS_MAGIC};
	struct stat st, dev;
	struct statfs fs;

	if (stat(path, &st) < 0 || statfs(path, &fs) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(magics); i++)
		if (fs.f_type == magics[i])
			return true;
	/* devtmpfs looks like any tmpfs. */
	return stat("/dev/null", &dev) == 0 && st.st_dev == dev.st_dev;
}

static int open_source(const struct spec *s, size_t i, struct json_object *m,
		       const struct mountopt *o, bool *mine, struct err *e)
{
	const char *src = json_str(m, "source", "");
	char full[PATH_MAX];
	struct stat st;
	auto_fd tree = -1;
	int rc;

	if (spec_mount_kind(m) == SPEC_MOUNT_HOST) {
		tree = fs_make(json_str(m, "type", ""), src, (const char *const *)o->data,
			       o->data_cnt, e);
		if (tree < 0)
			return err_wrap(e, "mounts[%zu]", i);
		return fd_take(&tree);
	}
	rc = source_path(s, i, src, full, sizeof(full), e);
	if (rc < 0)
		return rc;
	*mine = !is_kernels(full);
	tree = *mine ? clone_tree(full, o->rbind) : open(full, O_PATH | O_CLOEXEC);
	if (tree < 0 && !*mine)
		tree = -errno;
	if (tree < 0)
		return err_sys(e, tree, "mounts[%zu]: source '%s'", i, full);
	if (fstat(tree, &st) < 0)
		return err_sys(e, -errno, "mounts[%zu]: source '%s'", i, full);
	rc = check_source(i, full, &st, e);
	if (rc < 0)
		return rc;
	if (*mine)
		rc = set_attr(tree, o->rbind, 0, 0);
	return rc < 0 ? err_sys(e, rc, "mounts[%zu]: source '%s'", i, full) : fd_take(&tree);
}

/* The tree that was bound from the host's @path, in its place now, without windows into the host. */
static int cut(int tree, const char *path, struct err *e)
{
	CLEANUP(submounts_free) struct submounts sub = {0};
	int rc = submounts_find(&sub, path, e);

	return rc < 0 ? rc : submounts_cut(&sub, tree, e);
}

static int mount_one(const struct spec *s, int root, size_t i, struct json_object *m, struct err *e)
{
	const uint64_t flags =
	    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	const char *dest = json_str(m, "destination", "");
	char full[PATH_MAX];
	struct mountopt o;
	auto_fd tree = -1;
	auto_fd target = -1;
	bool mine = true;
	struct stat st;
	int rc = spec_mount_options(m, &o, e);

	if (rc < 0)
		return rc;
	tree = open_source(s, i, m, &o, &mine, e);
	if (tree < 0)
		return tree;
	if (fstat(tree, &st) < 0)
		return err_sys(e, -errno, "mounts[%zu]: '%s'", i, dest);
	if (!mine) { /* a mount point for the guest's own */
		rc = inroot_target(root, dest, S_ISDIR(st.st_mode), &target);
		return rc < 0 ? err_sys(e, rc, "mounts[%zu]: destination '%s'", i, dest) : 0;
	}
	/* The guest applies all options; what protects the host's files holds here, too. */
	rc = set_attr(tree, false, o.set & flags, 0);
	if (rc == 0 && o.rec_set & flags)
		rc = set_attr(tree, true, o.rec_set & flags, 0);
	if (rc < 0)
		return err_sys(e, rc, "mounts[%zu]: flags of '%s'", i, dest);
	rc = inroot_target(root, dest, S_ISDIR(st.st_mode), &target);
	if (rc == 0)
		rc = attach(tree, target);
	if (rc < 0)
		return err_sys(e, rc, "mounts[%zu]: mounting on '%s'", i, dest);
	if (spec_mount_kind(m) != SPEC_MOUNT_BIND || !o.rbind)
		return 0;
	rc = source_path(s, i, json_str(m, "source", ""), full, sizeof(full), e);
	if (rc == 0 && cut(tree, full, e) < 0)
		rc = err_wrap(e, "mounts[%zu]", i);
	return rc;
}

static int build_all(const struct spec *s, int root, struct err *e)
{
	struct json_object *mounts = json_at(s->root, "mounts");

	for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++) {
		struct json_object *m = json_object_array_get_idx(mounts, i);
		const char *dest = json_str(m, "destination", "");
		auto_fd target = -1;
		int rc;

		if (spec_mount_kind(m) != SPEC_MOUNT_GUEST) {
			rc = mount_one(s, root, i, m, e);
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

/* The options that stay, and the size and mode of what was there. */
static struct json_object *shm_options(const struct mountopt *o, const struct statfs *fs,
				       mode_t mode)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} flags[] = {{MOUNT_ATTR_RDONLY, "ro"},
		     {MOUNT_ATTR_NOSUID, "nosuid"},
		     {MOUNT_ATTR_NODEV, "nodev"},
		     {MOUNT_ATTR_NOEXEC, "noexec"}};
	struct json_object *a = json_object_new_array();
	char text[64];

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if ((o->set | o->rec_set) & flags[i].bit)
			(void)json_object_array_add(a, json_object_new_string(flags[i].name));
	if (fs->f_blocks) { /* 0 = without a limit */
		(void)snprintf(text, sizeof(text), "size=%llu",
			       (unsigned long long)fs->f_blocks * (unsigned long long)fs->f_bsize);
		(void)json_object_array_add(a, json_object_new_string(text));
	}
	(void)snprintf(text, sizeof(text), "mode=%o", mode & 07777);
	(void)json_object_array_add(a, json_object_new_string(text));
	return a;
}

/* What the guest is to have of its own below a tree that is bound with all that is mounted in it. */
static int add_submounts(struct json_object *all, struct json_object *m, const char *full,
			 const struct mountopt *o, struct err *e)
{
	CLEANUP(submounts_free) struct submounts sub = {0};
	const char *dest = json_str(m, "destination", "");
	int rc = submounts_find(&sub, full, e);

	for (size_t i = 0; rc == 0 && i < sub.cnt; i++) {
		struct json_object *one, *opts;
		char path[PATH_MAX];

		if (!sub.v[i].guest)
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dest, sub.v[i].path) >=
		    sizeof(path))
			return err_set(e, -ENAMETOOLONG, "mounts: '%s/%s': too long", dest,
				       sub.v[i].path);
		one = json_object_new_object();
		opts = json_object_new_array();
		json_add_str(one, "destination", path);
		json_add_str(one, "type", "bind");
		json_add_str(one, "source", sub.v[i].guest);
		(void)json_object_array_add(opts, json_object_new_string("rbind"));
		if (o->rec_set & MOUNT_ATTR_RDONLY)
			(void)json_object_array_add(opts, json_object_new_string("rro"));
		(void)json_object_object_add(one, "options", opts);
		(void)json_object_array_add(all, one);
	}
	return rc;
}

/* What one mount of the specification is for the guest; more may follow it in @all. */
static int for_guest(const struct spec *s, size_t i, struct json_object *m, struct json_object *all,
		     struct err *e)
{
	char full[PATH_MAX], real[PATH_MAX];
	struct mountopt o;
	struct statfs fs;
	struct stat st;
	int rc;

	if (spec_mount_kind(m) != SPEC_MOUNT_BIND)
		return 0;
	rc = source_path(s, i, json_str(m, "source", ""), full, sizeof(full), e);
	rc = rc ? rc : spec_mount_options(m, &o, e);
	if (rc < 0)
		return rc;
	if (is_kernels(full) && realpath(full, real)) {
		/* By the name under which the guest has it. */
		(void)json_object_object_add(m, "source", json_object_new_string(real));
		return 0;
	}
	if (stat(full, &st) < 0) /* said where it is mounted */
		return 0;
	if (strcmp(json_str(m, "destination", ""), "/dev/shm") != 0 || !strcmp(full, "/dev/shm") ||
	    statfs(full, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
		return o.rbind && S_ISDIR(st.st_mode) ? add_submounts(all, m, full, &o, e) : 0;
	(void)json_object_object_add(m, "options", shm_options(&o, &fs, st.st_mode));
	(void)json_object_object_add(m, "type", json_object_new_string("tmpfs"));
	(void)json_object_object_add(m, "source", json_object_new_string("shm"));
	return 0;
}

int mounts_for_guest(struct spec *s, struct err *e)
{
	struct json_object *mounts = json_at(s->root, "mounts");
	auto_json all = json_object_new_array();

	for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++) {
		struct json_object *m = json_object_array_get_idx(mounts, i);
		int rc;

		(void)json_object_array_add(all, json_object_get(m));
		rc = for_guest(s, i, m, all, e);
		if (rc < 0)
			return rc;
	}
	if (mounts)
		(void)json_object_object_add(s->root, "mounts", ptr_take(all));
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
	if (cut(tree, s->rootfs, e) < 0)
		return err_wrap(e, "rootfs '%s'", s->rootfs);
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
