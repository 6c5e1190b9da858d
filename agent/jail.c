/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths below a container's root. The image is hostile: every component may be a symbolic link, and
 * they are resolved as if the root were "/", by the kernel (openat2, RESOLVE_IN_ROOT). In a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/child.h"
#include "base/fd.h"

int jail_open(int root, const char *path, int flags)
{
	struct open_how how = {
	    .flags = (uint64_t)(unsigned)flags | O_CLOEXEC | O_NOCTTY,
	    .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (flags & O_PATH)
		how.flags =
		    ((uint64_t)(unsigned)flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW)) | O_CLOEXEC;
	/* EAGAIN: something was renamed meanwhile and the kernel will not vouch for "..". */
	for (int i = 0; i < 32; i++) {
		fd = (int)syscall(SYS_openat2, root, path[0] ? path : ".", &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : fd;
}

static int make_last(int dir, const char *name, mode_t mode, bool file)
{
	if (!file)
		return mkdirat(dir, name, mode) < 0 && errno != EEXIST ? -errno : 0;
	/* O_EXCL: never through a link, never into a device. */
	{
		auto_fd fd =
		    openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

		return fd < 0 && errno != EEXIST ? -errno : 0;
	}
}

int jail_make(int root, const char *path, mode_t mode, bool file)
{
	char done[PATH_MAX] = ""; /* the part of @path that exists */
	size_t len = 0;
	int fd = jail_open(root, path, O_PATH);

	if (fd != -ENOENT)
		return fd;
	if (strlen(path) >= sizeof(done))
		return -ENAMETOOLONG;
	for (const char *p = path + strspn(path, "/"); *p;) {
		size_t n = strcspn(p, "/");
		const char *next = p + n + strspn(p + n, "/");
		auto_fd dir = -1;
		int rc;

		dir = jail_open(root, done, O_PATH | O_DIRECTORY);
		if (dir < 0)
			return dir;
		if (len)
			done[len++] = '/';
		memcpy(done + len, p, n);
		done[len + n] = '\0';
		fd = jail_open(root, done, O_PATH);
		if (fd == -ENOENT) {
			/* A dangling link has no target to make: EEXIST, and ENOENT again below. */
			rc = make_last(dir, done + len, *next ? 0755 : mode, file && !*next);
			if (rc < 0)
				return rc;
			fd = jail_open(root, done, O_PATH);
		}
		if (fd < 0)
			return fd;
		len += n;
		p = next;
		if (!*p)
			return fd;
		(void)close(fd);
	}
	return jail_open(root, "", O_PATH);
}

int jail_parent(int root, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	*ret_name = slash ? slash + 1 : path;
	if (!**ret_name || strcmp(*ret_name, "..") == 0 || strcmp(*ret_name, ".") == 0)
		return -EINVAL;
	if ((size_t)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path) >=
	    sizeof(dir))
		return -ENAMETOOLONG;
	return jail_make(root, dir, 0755, false);
}

int mount_move(int mnt_fd, int target_fd)
{
	return move_mount(mnt_fd, "", target_fd, "",
			  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
		   ? -errno
		   : 0;
}

int mount_clone(int from_fd, bool recursive)
{
	int fd = open_tree(from_fd, "",
			   AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
			       (recursive ? AT_RECURSIVE : 0));

	return fd < 0 ? -errno : fd;
}

int mount_attr(int fd, bool recursive, uint64_t set, uint64_t clr, unsigned long propagation)
{
	struct mount_attr attr = {
	    .attr_set = set, .attr_clr = clr, .propagation = propagation & ~(unsigned long)MS_REC};

	if (!set && !clr && !propagation)
		return 0;
	return mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
			     sizeof(attr)) < 0
		   ? -errno
		   : 0;
}
