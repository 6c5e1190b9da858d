/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cgroup (v2) for each container, below AGENT_CGROUP_TOP. A container may make cgroups of its
 * own in it, any number and depth: walks are bounded.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/userns.h"
#include "base/clock.h"
#include "base/fd.h"

#define DEPTH_MAX 32
#define PIDS_MAX  65536u
#define TOP_NAME  "/husk/"

#define PATH_LEN  (sizeof(AGENT_CGROUP_TOP) + CONTAINER_ID_MAX + 1)

static int dir_of(const char *id)
{
	char path[PATH_LEN];
	int fd;

	(void)snprintf(path, sizeof(path), AGENT_CGROUP_TOP "/%s", id);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static int write_at(int dir, const char *file, const char *value)
{
	auto_fd fd = openat(dir, file, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_write_full(fd, value, strlen(value));
}

/*
 * A container that may manage its cgroup owns it (config-linux.md, "Cgroup ownership"): in a user
 * name space and a cgroup name space, with the hierarchy mounted writable.
 */
static void give_away(int dir, const struct spec *s)
{
	static const char *const files[] = {"cgroup.procs", "cgroup.subtree_control",
					    "cgroup.threads"};
	const int need = CLONE_NEWUSER | CLONE_NEWCGROUP;
	uint32_t uid = userns_kuid(s, 0);
	bool writable = false;

	for (size_t i = 0; i < s->mounts_cnt; i++)
		if (!s->mounts[i].repeat && strncmp(s->mounts[i].type, "cgroup", 6) == 0)
			writable = !(s->mounts[i].opt.set & MOUNT_ATTR_RDONLY);
	if ((s->clone_flags & need) != need || !writable || uid == UINT32_MAX)
		return;
	(void)!fchown(dir, uid, (gid_t)-1);
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		(void)!fchownat(dir, files[i], uid, (gid_t)-1, 0);
}

int cgrp_create(const char *id, const struct spec *s, struct err *e)
{
	char path[PATH_LEN];
	auto_fd dir = -1;
	int rc = 0;

	(void)snprintf(path, sizeof(path), AGENT_CGROUP_TOP "/%s", id);
	if (mkdir(path, 0755) < 0 && errno == EEXIST) {
		struct err ignored = {0};

		/* Left over by a container of that name whose end nobody asked for. */
		(void)!cgrp_remove(id, 0, &ignored);
		rc = mkdir(path, 0755) < 0 ? -errno : 0;
	} else {
		dir = dir_of(id);
	}
	if (rc == 0 && dir < 0)
		dir = dir_of(id);
	if (rc < 0 || dir < 0)
		return err_sys(e, rc < 0 ? rc : dir, "cgroup of container '%s'", id);
	for (size_t i = 0; rc == 0 && i < s->cgroup.cnt; i++) {
		rc = write_at(dir, s->cgroup.v[i].file, s->cgroup.v[i].value);
		/* Without swap there is nothing to limit. */
		if (rc == -ENOENT && strcmp(s->cgroup.v[i].file, "memory.swap.max") == 0)
			rc = 0;
		if (rc < 0)
			(void)err_sys(e, rc, "cgroup of container '%s': writing '%s' to %s", id,
				      s->cgroup.v[i].value, s->cgroup.v[i].file);
	}
	if (rc == 0)
		give_away(dir, s);
	if (rc < 0)
		(void)rmdir(path);
	return rc;
}

int cgrp_open(const char *id, pid_t pid)
{
	char path[64], want[CONTAINER_ID_MAX + sizeof(TOP_NAME)];
	auto_free char *text = NULL;
	auto_free char *full = NULL;
	char *p, *rel;
	size_t n;
	int fd;

	if (!pid)
		return dir_of(id);
	/* A process manager inside may have moved itself down, which closes the top for others. */
	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (fd_read_file(AT_FDCWD, path, 65536, &text, NULL) < 0)
		return dir_of(id);
	p = strstr(text, "0::");
	(void)snprintf(want, sizeof(want), TOP_NAME "%s", id);
	n = strlen(want);
	if (!p || (p != text && p[-1] != '\n'))
		return dir_of(id);
	rel = p + 3;
	rel[strcspn(rel, "\n")] = '\0';
	if (strncmp(rel, want, n) != 0 || (rel[n] && rel[n] != '/') || strstr(rel, "/.."))
		return dir_of(id);
	if (asprintf(&full, "/sys/fs/cgroup%s", rel) < 0) {
		full = NULL;
		return -ENOMEM;
	}
	fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? dir_of(id) : fd;
}

/* Calls @fn for @dir and all below it, the deepest first. Takes @dir over. */
static int walk(int dir, unsigned depth, int (*fn)(int dir, void *arg), void *arg)
{
	DIR *d = fdopendir(dir);
	struct dirent *de;
	int rc = 0;

	if (!d) {
		rc = -errno;
		(void)close(dir);
		return rc;
	}
	while (rc == 0 && depth < DEPTH_MAX && (de = readdir(d)) != NULL) {
		int sub;

		if (de->d_type != DT_DIR || de->d_name[0] == '.')
			continue;
		sub = openat(dir, de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (sub < 0)
			continue;
		rc = walk(sub, depth + 1, fn, arg);
		/* Only cgrp_remove() means the directories; for others this fails, being in use.
		 */
		if (rc == 0 && !fn)
			(void)unlinkat(dir, de->d_name, AT_REMOVEDIR);
	}
	if (rc == 0 && fn)
		rc = fn(dir, arg);
	(void)closedir(d);
	return rc;
}

struct pids {
	pid_t *v;
	size_t cnt, cap;
};

static int add_pids(int dir, void *arg)
{
	struct pids *ps = arg;
	auto_free char *text = NULL;

	if (fd_read_file(dir, "cgroup.procs", 1u << 20, &text, NULL) < 0)
		return 0;
	for (char *p = text; *p;) {
		long v = strtol(p, &p, 10);

		p += *p == '\n';
		if (v <= 0)
			continue;
		if (ps->cnt == ps->cap) {
			size_t cap = ps->cap ? ps->cap * 2 : 64;
			pid_t *more =
			    ps->cnt >= PIDS_MAX ? NULL : reallocarray(ps->v, cap, sizeof(*more));

			if (!more)
				return -ENOMEM;
			ps->v = more;
			ps->cap = cap;
		}
		ps->v[ps->cnt++] = (pid_t)v;
	}
	return 0;
}

int cgrp_pids(const char *id, pid_t **ret, size_t *ret_cnt)
{
	struct pids ps = {0};
	int dir = dir_of(id), rc;

	if (dir < 0)
		return dir;
	rc = walk(dir, 0, add_pids, &ps);
	if (rc < 0) {
		free(ps.v);
		return rc;
	}
	*ret = ps.v;
	*ret_cnt = ps.cnt;
	return 0;
}

int cgrp_kill(const char *id, int sig)
{
	auto_free pid_t *pids = NULL;
	size_t cnt = 0;
	int rc;

	if (sig == SIGKILL) {
		auto_fd dir = dir_of(id);

		return dir < 0 ? dir : write_at(dir, "cgroup.kill", "1");
	}
	rc = cgrp_pids(id, &pids, &cnt);
	for (size_t i = 0; rc == 0 && i < cnt; i++)
		(void)kill(pids[i], sig);
	return rc;
}

/* Until the kernel says @what of it, or -EBUSY. */
static int wait_until(int dir, const char *what, int timeout_ms)
{
	uint64_t end = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	auto_fd fd = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLPRI};
		char buf[256];
		ssize_t n = fd_pread_full(fd, buf, sizeof(buf) - 1, 0);
		uint64_t now = clock_ns();

		if (n < 0)
			return (int)n;
		buf[n] = '\0';
		if (strstr(buf, what))
			return 0;
		if (now >= end)
			return -EBUSY;
		(void)poll(&pfd, 1, (int)((end - now) / NS_PER_MS) + 1);
	}
}

int cgrp_freeze(const char *id, bool on, int timeout_ms)
{
	auto_fd dir = dir_of(id);
	int rc = dir < 0 ? dir : write_at(dir, "cgroup.freeze", on ? "1" : "0");

	return rc < 0 || !on ? rc : wait_until(dir, "frozen 1", timeout_ms);
}

int cgrp_remove(const char *id, int timeout_ms, struct err *e)
{
	char path[PATH_LEN];
	auto_fd dir = dir_of(id);
	int sub, rc;

	if (dir == -ENOENT)
		return 0;
	rc = dir < 0 ? dir : wait_until(dir, "populated 0", timeout_ms);
	sub = rc == 0 ? dir_of(id) : -1;
	if (sub >= 0)
		(void)walk(sub, 0, NULL, NULL);
	(void)snprintf(path, sizeof(path), AGENT_CGROUP_TOP "/%s", id);
	if (rc == 0 && rmdir(path) < 0 && errno != ENOENT)
		rc = -errno;
	return rc < 0 ? err_sys(e, rc, "cgroup of container '%s'", id) : 0;
}
