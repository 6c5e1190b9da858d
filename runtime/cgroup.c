/* SPDX-License-Identifier: Apache-2.0 */
/* The container's cgroup on the host. See cgroup.h. */
#include "runtime/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#define MOUNT "/sys/fs/cgroup"

/* Writes @text into @dir/@file. */
static int put(const char *dir, const char *file, const char *text)
{
	char path[PATH_MAX];
	auto_fd fd = -1;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, file) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));
}

/* Are there processes in it or below it? */
static bool is_populated(const char *path)
{
	auto_free char *text = NULL;
	char file[PATH_MAX];

	if ((size_t)snprintf(file, sizeof(file), "%s/cgroup.events", path) >= sizeof(file) ||
	    fd_read_file(AT_FDCWD, file, 4096, &text, NULL) < 0)
		return false;
	return strstr(text, "populated 1") != NULL;
}

int cgroup_resolve(const struct spec *s, char **ret, char **ret_keep, struct err *e)
{
	const char *p = s->cgroups_path;
	char path[PATH_MAX], *at;
	struct statfs fs;
	struct stat st;

	*ret = *ret_keep = NULL;
	if (!p)
		return 0;
	if (strchr(p, ':') && p[0] != '/')
		return err_set(
		    e, -ENOTSUP,
		    "linux.cgroupsPath: '%s' has the form of systemd; husk does cgroupfs only", p);
	for (const char *c = strstr(p, ".."); c; c = strstr(c + 2, ".."))
		if ((c == p || c[-1] == '/') && (c[2] == '/' || !c[2]))
			return err_set(e, -EINVAL, "linux.cgroupsPath: '%s' has '..' in it", p);
	if (statfs(MOUNT, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
		return err_set(e, -ENOTSUP,
			       "linux.cgroupsPath: this host has no cgroup v2 hierarchy at " MOUNT);
	while (*p == '/')
		p++;
	if (!*p)
		return err_set(e, -EINVAL, "linux.cgroupsPath: '/' is the root cgroup");
	if ((size_t)snprintf(path, sizeof(path), MOUNT "/%s", p) >= sizeof(path))
		return err_set(e, -ENAMETOOLONG, "linux.cgroupsPath: too long");
	for (size_t n = strlen(path); path[n - 1] == '/'; n--)
		path[n - 1] = '\0';
	/* Removing a container ends all that is in its cgroup. */
	if (is_populated(path))
		return err_set(e, -EBUSY,
			       "linux.cgroupsPath: cgroup %s has processes in it already", path);
	*ret = strdup(path);
	while (stat(path, &st) < 0 && (at = strrchr(path, '/')))
		*at = '\0';
	*ret_keep = strdup(path);
	return *ret && *ret_keep ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* Makes the directories on the way and turns their controllers on for the next one down. */
static int make_path(const char *path, struct err *e)
{
	static const char *const controllers[] = {"+memory", "+cpu", "+pids", "+io", "+cpuset"};
	char buf[PATH_MAX];
	size_t n = strlen(path);

	memcpy(buf, path, n + 1);
	for (size_t i = sizeof(MOUNT) - 1; i <= n; i++) {
		if (buf[i] != '/' && buf[i])
			continue;
		buf[i] = '\0';
		if (mkdir(buf, 0755) < 0 && errno != EEXIST)
			return err_sys(e, -errno, "making cgroup %s", buf);
		if (i < n) {
			/* What is not there cannot be limited; enter() says so when it matters. */
			for (size_t k = 0; k < ARRAY_LEN(controllers); k++)
				(void)put(buf, "cgroup.subtree_control", controllers[k]);
			buf[i] = '/';
		}
	}
	return 0;
}

static void limit(const char *path, const char *file, const char *text)
{
	int rc = put(path, file, text);

	if (rc < 0)
		log_warn("cgroup %s: %s = %s: %s; the limit holds inside the guest only", path,
			 file, text, strerror(-rc));
}

int cgroup_enter(const char *path, const struct spec *s, uint64_t memory, struct err *e)
{
	char text[64];
	int rc = make_path(path, e);

	if (rc < 0)
		return rc;
	if (s->memory_limit) {
		(void)snprintf(text, sizeof(text), "%llu",
			       (unsigned long long)(memory + CGROUP_OVERHEAD));
		limit(path, "memory.max", text);
	}
	if (s->cpu_quota > 0) {
		(void)snprintf(text, sizeof(text), "%lld %lld", (long long)s->cpu_quota,
			       (long long)s->cpu_period);
		limit(path, "cpu.max", text);
	}
	rc = put(path, "cgroup.procs", "0");
	return rc < 0 ? err_sys(e, rc, "entering cgroup %s", path) : 0;
}

/* A cgroup empties a moment after its last process was killed: cgroup.events tells when. */
static void wait_empty(const char *path)
{
	uint64_t until = clock_ns() + 2 * NS_PER_SEC;
	char file[PATH_MAX], text[128];
	auto_fd fd = -1;

	if ((size_t)snprintf(file, sizeof(file), "%s/cgroup.events", path) >= sizeof(file))
		return;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && clock_ns() < until) {
		struct pollfd p = {.fd = fd, .events = POLLPRI};
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

		if (n <= 0)
			return;
		text[n] = '\0';
		if (strstr(text, "populated 0"))
			return;
		(void)poll(&p, 1, 100);
	}
}

int cgroup_remove(const char *path, const char *keep)
{
	char buf[PATH_MAX], *at;

	if (!path || strlen(path) >= sizeof(buf) || strncmp(path, MOUNT "/", sizeof(MOUNT)) != 0)
		return 0;
	memcpy(buf, path, strlen(path) + 1);
	(void)put(buf, "cgroup.kill", "1");
	wait_empty(buf);
	if (rmdir(buf) < 0 && errno != ENOENT)
		return -errno;
	while (keep && (at = strrchr(buf, '/'))) {
		*at = '\0';
		if (strlen(buf) <= strlen(keep) || rmdir(buf) < 0)
			break; /* somebody else uses it */
	}
	return 0;
}

int cgroup_hold(void)
{
	int fd = open(MOUNT, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void cgroup_undo(int hold, const char *path, const char *keep)
{
	auto_fd procs = openat(hold, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	char buf[PATH_MAX], *at;

	if (procs < 0 || strncmp(path, MOUNT "/", sizeof(MOUNT)) != 0 ||
	    strlen(path) >= sizeof(buf) || fd_write_full(procs, "0", 1) < 0)
		return;
	memcpy(buf, path, strlen(path) + 1);
	do {
		if (strlen(buf) <= strlen(keep) ||
		    unlinkat(hold, buf + sizeof(MOUNT), AT_REMOVEDIR) < 0)
			return;
		at = strrchr(buf, '/');
		*at = '\0';
	} while (at > buf + sizeof(MOUNT));
}
