/* SPDX-License-Identifier: Apache-2.0 */
/* Paths inside a container's root. See inroot.h. */
#include "runtime/inroot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fd.h"

#define AGAIN_MAX 32 /* openat2 says EAGAIN when a rename raced with ".." */

int inroot_open(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
	    .flags = (uint64_t)(flags | O_CLOEXEC),
	    .mode = flags & O_CREAT ? mode : 0,
	    .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;
	int tries = 0;

	if (!*path)
		path = ".";
	do {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	} while (fd < 0 && (errno == EINTR || (errno == EAGAIN && ++tries < AGAIN_MAX)));
	return fd < 0 ? -errno : (int)fd;
}

/* Makes @name in @dir, which may have been made by somebody else meanwhile. */
static int make_one(int dir, const char *name, bool directory)
{
	int fd;

	if (directory)
		return mkdirat(dir, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
	fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	(void)close(fd);
	return 0;
}

int inroot_target(int root, const char *path, bool directory, int *ret)
{
	char sofar[PATH_MAX], name[NAME_MAX + 1];
	size_t len = 0;

	sofar[0] = '\0';
	while (*path) {
		size_t skip = strspn(path, "/"), n = strcspn(path + skip, "/");
		const char *next = path + skip + n;
		bool last = next[strspn(next, "/")] == '\0';
		auto_fd parent = -1;
		int fd, rc;

		if (n == 0)
			break;
		if (n > NAME_MAX || len + n + 2 > sizeof(sofar))
			return -ENAMETOOLONG;
		memcpy(name, path + skip, n);
		name[n] = '\0';
		parent = inroot_open(root, sofar, O_PATH | O_DIRECTORY, 0);
		if (parent < 0)
			return parent;
		len += (size_t)snprintf(sofar + len, sizeof(sofar) - len, "%s%s", len ? "/" : "",
					name);
		fd = inroot_open(root, sofar, O_PATH, 0);
		if (fd == -ENOENT) {
			/* A dangling symlink stays ENOENT below: nothing is made where it points.
			 */
			rc = make_one(parent, name, directory || !last);
			if (rc < 0)
				return rc;
			fd = inroot_open(root, sofar, O_PATH, 0);
		}
		if (fd < 0)
			return fd;
		(void)close(fd);
		path = next;
	}
	*ret = inroot_open(root, sofar, O_PATH | (directory ? O_DIRECTORY : 0), 0);
	return *ret < 0 ? *ret : 0;
}

enum found { FOUND, MISSING, NOT_EXECUTABLE };

static enum found look(int root, const char *path)
{
	auto_fd fd = inroot_open(root, path, O_PATH, 0);
	struct stat st;

	if (fd == -EACCES)
		return NOT_EXECUTABLE;
	if (fd < 0 || fstat(fd, &st) < 0)
		return MISSING;
	return S_ISREG(st.st_mode) && (st.st_mode & 0111) ? FOUND : NOT_EXECUTABLE;
}

static int find_in_path(int root, const char *arg0, const char *path_var, struct err *e)
{
	bool denied = false;
	char full[PATH_MAX];

	for (const char *p = path_var;; p++) {
		size_t n = strcspn(p, ":");

		if (snprintf(full, sizeof(full), "%.*s/%s", (int)MIN(n, (size_t)PATH_MAX),
			     n ? p : ".", arg0) < (int)sizeof(full)) {
			enum found f = look(root, full);

			if (f == FOUND)
				return 0;
			denied |= f == NOT_EXECUTABLE;
		}
		p += n;
		if (!*p)
			break;
	}
	if (denied)
		return err_set(e, -EACCES, "exec: \"%s\": permission denied", arg0);
	return err_set(e, -ENOENT, "exec: \"%s\": executable file not found in $PATH", arg0);
}

int inroot_find_exec(int root, const char *arg0, const char *path_var, const char *cwd,
		     struct err *e)
{
	char full[PATH_MAX];

	if (!*arg0)
		return err_set(e, -ENOENT, "exec: \"\": executable file not found in $PATH");
	if (!strchr(arg0, '/'))
		return find_in_path(root, arg0, path_var, e);
	if ((size_t)snprintf(full, sizeof(full), "%s%s%s", arg0[0] == '/' ? "" : cwd,
			     arg0[0] == '/' ? "" : "/", arg0) >= sizeof(full))
		return err_set(e, -ENOENT, "exec: \"%.100s…\": file name too long", arg0);
	switch (look(root, full)) {
	case FOUND:
		return 0;
	case NOT_EXECUTABLE:
		return err_set(e, -EACCES, "exec: \"%s\": permission denied", arg0);
	case MISSING:
		break;
	}
	return err_set(e, -ENOENT, "exec: \"%s\": stat %s: no such file or directory", arg0, arg0);
}
