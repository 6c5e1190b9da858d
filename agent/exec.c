/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to execute: the lookup of the first argument along the container's PATH and the texts that
 * engines look for in a failure. In the child, with the process's own root and user.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/child.h"
#include "base/fd.h"

#define DEFAULT_PATH	      "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PASSWD_MAX	      (1u << 20)

#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND      127

const char *exec_env(const char *const *env, const char *name)
{
	size_t len = strlen(name);

	/* The first one counts, as for getenv(). */
	for (; env && *env; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

/* 0 if @path can be executed, else -errno. */
static int probe(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	/* Whoever may do everything may still not execute what nobody may. */
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return -errno;
	return S_ISREG(st.st_mode) && !(st.st_mode & 0111) ? -EACCES : 0;
}

static int lookup_failed(const char *name, int rc, int *ret_status, struct err *e)
{
	*ret_status = rc == -ENOENT || rc == -ENOTDIR ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
	/* A directory as well: engines know 126 by these words. */
	if (rc == -EACCES || rc == -EPERM || rc == -EISDIR)
		return err_set(e, rc, "exec: \"%s\": permission denied", name);
	if (rc == -ENOENT)
		return err_set(e, rc, "exec: \"%s\": stat %s: no such file or directory", name,
			       name);
	return err_sys(e, rc, "exec: \"%s\"", name);
}

int exec_lookup(const char *name, const char *const *env, char *out, size_t cap, int *ret_status,
		struct err *e)
{
	const char *path = exec_env(env, "PATH");
	bool denied = false;
	int rc;

	if (strchr(name, '/')) {
		rc = (size_t)snprintf(out, cap, "%s", name) >= cap ? -ENAMETOOLONG : probe(name);
		return rc < 0 ? lookup_failed(name, rc, ret_status, e) : 0;
	}
	for (const char *p = path ? path : DEFAULT_PATH; name[0] && *p;) {
		size_t n = strcspn(p, ":");
		int len = snprintf(out, cap, "%.*s/%s", n ? (int)n : 1, n ? p : ".", name);

		rc = len < 0 || (size_t)len >= cap ? -ENAMETOOLONG : probe(out);
		if (rc == 0)
			return 0;
		denied |= rc == -EACCES;
		p += n + (p[n] == ':');
	}
	if (denied)
		return lookup_failed(name, -EACCES, ret_status, e);
	*ret_status = STATUS_NOT_FOUND;
	return err_set(e, -ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
}

/* The home directory on one line of passwd(5) if it is @uid's. */
static const char *home_of(char *line, uid_t uid)
{
	char *f[7], *save = line, *end;
	size_t n = 0;

	while (save && n < ARRAY_LEN(f))
		f[n++] = strsep(&save, ":");
	if (n < 6 || !f[2][0] || strtoul(f[2], &end, 10) != uid || *end)
		return NULL;
	return f[5];
}

int exec_home(uid_t uid, char *out, size_t cap)
{
	/* O_NONBLOCK: it may be a FIFO. */
	auto_fd fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	auto_free char *text = NULL;
	const char *home = "/";
	char *save, *line;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    fd_read_all(fd, PASSWD_MAX, &text, NULL) == 0) {
		for (save = text; (line = strsep(&save, "\n")) != NULL;) {
			const char *h = home_of(line, uid);

			if (!h)
				continue;
			home = h[0] ? h : "/";
			break;
		}
	}
	return (size_t)snprintf(out, cap, "%s", home) >= cap ? -ENAMETOOLONG : 0;
}
