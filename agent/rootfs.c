/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's root: where it comes from, what is mounted in it, what is hidden, and the pivot.
 * In a child with a mount name space of its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/child.h"
#include "base/fd.h"

#define DRIVER_BIND "/sys/bus/platform/drivers/virtio-mmio/bind"
#define DEVICES	    "/sys/bus/platform/devices"

/*
 * access=client: the guest's kernel checks permissions and tells the server who makes a file.
 * cache=mmap: files are read anew at each open, so changes of the host show; shared mappings work.
 * msize: the most that the virtio transport of Linux 6.1 takes (125 pages).
 */
#define P9_OPTIONS "trans=virtio,version=9p2000.L,access=client,cache=mmap,msize=512000"

/* A spare slot had no device when the driver looked; by now the host has filled it. */
int device_bind(const char *name, struct err *e)
{
	char path[PATH_MAX];
	int rc;

	(void)snprintf(path, sizeof(path), DEVICES "/%s", name);
	if (access(path, F_OK) < 0)
		return err_set(e, -ENODEV, "device '%s': not on the platform bus", name);
	(void)snprintf(path, sizeof(path), DEVICES "/%s/driver", name);
	if (access(path, F_OK) == 0)
		return 0;
	rc = write_text(DRIVER_BIND, name);
	return rc < 0 ? err_sys(e, rc, "device '%s': binding it to its driver", name) : 0;
}

/* The block device below a platform device, as /dev/NAME. */
static int disk_of(const char *device, char *out, size_t cap)
{
	char path[PATH_MAX];
	struct dirent *de, *be;
	int rc = -ENODEV;
	DIR *d, *b;

	(void)snprintf(path, sizeof(path), DEVICES "/%s", device);
	d = opendir(path);
	while (rc < 0 && d && (de = readdir(d)) != NULL) {
		if (strncmp(de->d_name, "virtio", 6) != 0)
			continue;
		(void)snprintf(path, sizeof(path), DEVICES "/%s/%s/block", device, de->d_name);
		b = opendir(path);
		while (rc < 0 && b && (be = readdir(b)) != NULL)
			if (be->d_name[0] != '.')
				rc = (size_t)snprintf(out, cap, "/dev/%s", be->d_name) < cap
					 ? 0
					 : -ENAMETOOLONG;
		if (b)
			(void)closedir(b);
	}
	if (d)
		(void)closedir(d);
	return rc;
}

static int mount_root(const struct root_source *r, struct err *e)
{
	char dev[128];
	int rc;

	if (r->path) {
		auto_fd dir = open(r->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		auto_fd at = open(AGENT_ROOT_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
		auto_fd copy = dir < 0 ? -errno : mount_clone(dir, true);

		rc = copy < 0 ? copy : at < 0 ? -ENOENT : mount_move(copy, at);
		return rc < 0 ? err_sys(e, rc, "root '%s'", r->path) : 0;
	}
	rc = device_bind(r->device, e);
	if (rc < 0)
		return rc;
	if (!r->fstype || strcmp(r->fstype, "9p") == 0) {
		if (mount(r->tag, AGENT_ROOT_DIR, "9p", 0, P9_OPTIONS) < 0)
			return err_sys(e, -errno, "root: mounting 9p tag '%s'", r->tag);
		return 0;
	}
	rc = disk_of(r->device, dev, sizeof(dev));
	if (rc < 0)
		return err_sys(e, rc, "root: device '%s' is not a disk", r->device);
	if (mount(dev, AGENT_ROOT_DIR, r->fstype, 0,
		  strcmp(r->fstype, "xfs") == 0 ? "nouuid" : NULL) < 0)
		return err_sys(e, -errno, "root: mounting %s as %s", dev, r->fstype);
	return 0;
}

static int bind_disks(struct container *c, struct err *e)
{
	for (size_t i = 0; i < c->disks_cnt; i++) {
		struct disk_source *d = &c->disks[i];
		char dev[128];
		struct stat st;
		int rc = device_bind(d->device, e);

		if (rc < 0)
			return rc;
		rc = disk_of(d->device, dev, sizeof(dev));
		if (rc == 0 && stat(dev, &st) < 0)
			rc = -errno;
		if (rc < 0)
			return err_sys(e, rc, "device '%s': '%s' is not a disk", d->path,
				       d->device);
		d->dev = st.st_rdev;
	}
	return 0;
}

static int write_sysctls(const struct spec *s, struct err *e)
{
	for (size_t i = 0; i < s->sysctls.cnt; i++) {
		char path[PATH_MAX];
		int rc = -ENAMETOOLONG;

		/* The agent's own procfs; the kernel looks at the writer's name spaces. */
		if ((size_t)snprintf(path, sizeof(path), "/proc/sys/%s", s->sysctls.v[i].file) <
		    sizeof(path))
			rc = write_text(path, s->sysctls.v[i].value);
		if (rc < 0)
			return err_sys(e, rc, "sysctl %s: writing '%s'", s->sysctls.v[i].file,
				       s->sysctls.v[i].value);
	}
	return 0;
}

static int empty_dir(void)
{
	auto_fd fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0)
		return -errno;
	(void)fsconfig(fs, FSCONFIG_SET_STRING, "source", "tmpfs", 0);
	(void)fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0);
	(void)fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "2", 0);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC,
		     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A directory becomes an empty one, anything else /dev/null: the guest's own, not the container's.
 */
static int mask(int root, const char *path, int null)
{
	auto_fd target = jail_open(root, path, O_PATH);
	auto_fd cover = -1;
	struct stat st;

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return target;
	if (fstat(target, &st) < 0)
		return -errno;
	cover = S_ISDIR(st.st_mode) ? empty_dir() : mount_clone(null, false);
	return cover < 0 ? cover : mount_move(cover, target);
}

static int make_readonly(int root, const char *path)
{
	auto_fd target = jail_open(root, path, O_PATH);
	auto_fd copy = -1;
	int rc;

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return target;
	copy = mount_clone(target, true);
	if (copy < 0)
		return copy;
	rc = mount_attr(copy, true, MOUNT_ATTR_RDONLY, 0, 0);
	return rc < 0 ? rc : mount_move(copy, target);
}

static int hide_paths(int root, const struct spec *s, struct err *e)
{
	auto_fd null = open("/dev/null", O_PATH | O_CLOEXEC);
	int rc;

	for (const char **p = s->readonly; p && *p; p++) {
		rc = make_readonly(root, *p);
		if (rc < 0)
			return err_sys(e, rc, "readonlyPaths: '%s'", *p);
	}
	for (const char **p = s->masked; p && *p; p++) {
		rc = null < 0 ? -ENOENT : mask(root, *p, null);
		if (rc < 0)
			return err_sys(e, rc, "maskedPaths: '%s'", *p);
	}
	return 0;
}

/* What has to exist before the root may become read-only. */
static int make_targets(int root, const struct spec_process *p, struct err *e)
{
	auto_fd cwd = jail_make(root, p->cwd, 0755, false);
	auto_fd con = -1;

	if (cwd < 0 && cwd != -EROFS)
		return err_sys(e, cwd, "cwd '%s'", p->cwd);
	if (!p->terminal)
		return 0;
	con = jail_make(root, "/dev/console", 0755, true);
	return con < 0 ? err_sys(e, con, "device '/dev/console'") : 0;
}

int rootfs_build(struct container *c, struct err *e)
{
	auto_free int *held = NULL;
	auto_fd root = -1;
	int rc = mount_root(&c->root, e);

	if (rc < 0)
		return rc;
	root = open(AGENT_ROOT_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, -errno, "root");
	rc = mounts_hold(root, &c->spec, &held, e);
	rc = rc ? rc : mounts_make(root, &c->spec, held, e);
	rc = rc ? rc : bind_disks(c, e);
	rc = rc ? rc : devices_make(root, c, e);
	/* From here on; the rules need not allow making nodes. */
	rc = rc ? rc : devices_filter(c, e);
	rc = rc ? rc : make_targets(root, &c->spec.process, e);
	rc = rc ? rc : write_sysctls(&c->spec, e);
	rc = rc ? rc : hide_paths(root, &c->spec, e);
	if (rc == 0 && (c->spec.readonly_root || c->root_ro)) {
		rc = mount_attr(root, false, MOUNT_ATTR_RDONLY, 0, 0);
		if (rc < 0)
			(void)err_sys(e, rc, "root: making it read-only");
	}
	return rc;
}

int rootfs_pivot(const struct container *c, struct err *e)
{
	auto_fd root = open(AGENT_ROOT_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (root < 0 || fchdir(root) < 0)
		return err_sys(e, -errno, "root");
	/* Old and new root at the same place: the old one lies on top and is taken away. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(e, -errno, "root: pivot_root");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_sys(e, -errno, "root: leaving the agent's");
	if (!c->spec.propagation)
		return 0;
	rc = mount_attr(root, c->spec.propagation & MS_REC, 0, 0, c->spec.propagation);
	return rc < 0 ? err_sys(e, rc, "rootfsPropagation") : 0;
}
