/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a cgroup: its processes killed, its directories removed. See cgroup.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/cgroup.h"
#include "runtime/scope.h"

#define GONE_NS	  (10 * NS_PER_SEC) /* how long killed processes may take to be gone */
#define DEPTH_MAX 16		    /* of cgroups that somebody made below ours */

/* One round: kills everybody in @dir and waits for each. 0 when nobody was there. */
static int kill_round(const char *dir, uint64_t until)
{
	auto_free char *text = NULL;
	char file[PATH_MAX];
	int found = 0;

	(void)snprintf(file, sizeof(file), "%s/cgroup.procs", dir);
	if (fd_read_file(AT_FDCWD, file, 1 << 20, &text, NULL) < 0)
		return 0;
	for (char *p = text, *end; *p; p = end + (*end == '\n')) {
		long pid = strtol(p, &end, 10);
		auto_fd fd = pid > 1 ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0u) : -1;
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		uint64_t now = clock_ns();

		if (end == p)
			break;
		if (fd < 0 || pid == getpid())
			continue;
		found = 1;
		(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0u);
		if (now < until)
			(void)poll(&pfd, 1, (int)((until - now) / NS_PER_MS + 1));
	}
	return found;
}

/* A cgroup of v2 empties a moment after its last process was killed: cgroup.events tells when. */
static void wait_empty(const char *dir, uint64_t until)
{
	char file[PATH_MAX], text[128];
	auto_fd fd = -1;

	(void)snprintf(file, sizeof(file), "%s/cgroup.events", dir);
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

static void kill_all(const struct cgroup_dir *d, uint64_t until)
{
	char file[PATH_MAX];
	auto_fd fd = -1;

	(void)snprintf(file, sizeof(file), "%s/cgroup.kill", d->path);
	fd = open(file, O_WRONLY | O_CLOEXEC); /* v2 since Linux 5.14 */
	if (fd >= 0 && fd_write_full(fd, "1", 1) == 0) {
		wait_empty(d->path, until);
		return;
	}
	while (kill_round(d->path, until) && clock_ns() < until)
		;
}

/* Whoever makes cgroups below ours is gone: theirs go first. @dir has room for a name. */
static int remove_tree(char *dir, size_t cap, unsigned depth)
{
	size_t n = strlen(dir);
	struct dirent *de;
	DIR *d;

	if (rmdir(dir) == 0 || errno == ENOENT)
		return 0;
	if (depth == DEPTH_MAX)
		return -ELOOP;
	d = opendir(dir);
	while (d && (de = readdir(d))) {
		if (de->d_type != DT_DIR || !strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if ((size_t)snprintf(dir + n, cap - n, "/%s", de->d_name) < cap - n)
			(void)remove_tree(dir, cap, depth + 1);
		dir[n] = '\0';
	}
	if (d)
		(void)closedir(d);
	return rmdir(dir) == 0 || errno == ENOENT ? 0 : -errno;
}

/* state.json is ours alone, yet nothing but a cgroup is ever removed here. */
static bool is_cgroup_mount(const char *mount)
{
	struct statfs fs;

	return statfs(mount, &fs) == 0 &&
	       (fs.f_type == CGROUP2_SUPER_MAGIC || fs.f_type == CGROUP_SUPER_MAGIC);
}

static int remove_dir(const struct cgroup_dir *d)
{
	char buf[PATH_MAX], *at;
	int rc;

	(void)snprintf(buf, sizeof(buf), "%s", d->path);
	rc = remove_tree(buf, sizeof(buf), 0);
	if (rc < 0)
		return rc;
	while ((at = strrchr(buf, '/'))) {
		*at = '\0';
		if (strlen(buf) <= strlen(d->keep) || rmdir(buf) < 0)
			break; /* somebody else uses it */
	}
	return 0;
}

int cgroup_remove(const struct cgroup *c)
{
	uint64_t until = clock_ns() + GONE_NS;
	struct err e = {0};
	int rc = 0;

	for (unsigned i = 0; i < c->cnt; i++)
		if (is_cgroup_mount(c->dir[i].mount))
			kill_all(&c->dir[i], until);
	if (c->unit && scope_stop(c->unit, &e) < 0)
		log_warn("%s", e.msg); /* its directories go all the same */
	for (unsigned i = 0; i < c->cnt; i++) {
		int one = is_cgroup_mount(c->dir[i].mount) ? remove_dir(&c->dir[i]) : 0;

		if (one < 0) {
			log_warn("removing cgroup %s: %s", c->dir[i].path, strerror(-one));
			rc = one;
		}
	}
	return rc;
}

/* ---- from within ----------------------------------------------------------------------------- */

void cgroup_hold(struct cgroup_hold *h, const struct cgroup *c)
{
	for (h->cnt = 0; h->cnt < c->cnt; h->cnt++)
		h->fd[h->cnt] = open(c->dir[h->cnt].mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* By which directory systemd tells that a unit is empty. */
static bool is_scope(const struct cgroup *c, const struct cgroup_dir *d)
{
	return c->unit && (!d->controllers[0] || !strcmp(d->controllers, "name=systemd"));
}

/*
 * 0 when nothing of it is left, or soon will be: an empty @scope is systemd's to remove. One whose
 * directory goes before systemd has read that it is empty would stay active for good.
 */
static int undo_dir(int hold, const struct cgroup_dir *d, bool scope)
{
	size_t mount = strlen(d->mount), keep = strlen(d->keep);
	auto_fd procs = openat(hold, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	char buf[PATH_MAX], *at;

	if (procs < 0 || fd_write_full(procs, "0", 1) < 0)
		return -EACCES;
	(void)snprintf(buf, sizeof(buf), "%s", d->path);
	if (scope || strlen(buf) <= keep)
		return 0; /* or it was there before */
	if (unlinkat(hold, buf + mount + 1, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -errno;
	while ((at = strrchr(buf + mount + 1, '/'))) {
		*at = '\0';
		if (strlen(buf) <= keep || unlinkat(hold, buf + mount + 1, AT_REMOVEDIR) < 0)
			break; /* somebody else uses it */
	}
	return 0;
}

int cgroup_undo(const struct cgroup_hold *h, const struct cgroup *c)
{
	int rc = 0;

	for (unsigned i = 0; i < h->cnt; i++)
		if (h->fd[i] >= 0 && undo_dir(h->fd[i], &c->dir[i], is_scope(c, &c->dir[i])) < 0)
			rc = -EACCES;
	return rc;
}

void cgroup_let_go(struct cgroup_hold *h)
{
	for (unsigned i = 0; i < h->cnt; i++)
		fd_close(&h->fd[i]);
	h->cnt = 0;
}
