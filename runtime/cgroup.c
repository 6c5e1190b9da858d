/* SPDX-License-Identifier: Apache-2.0 */
/* The container's cgroup on the host. See cgroup.h; the way out is cgroup_end.c. */
#include "runtime/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "runtime/cgpath.h"
#include "runtime/scope.h"

#define PROC_MAX (8u << 20) /* mountinfo of hosts with thousands of containers */

static const struct json_rule rules[] = {
    {"version", JSON_U32, true},      {"slice", JSON_STR, false},
    {"unit", JSON_STR, false},	      {"dirs", JSON_OBJS, true},
    {"dirs[].mount", JSON_STR, true}, {"dirs[].path", JSON_STR, true},
    {"dirs[].keep", JSON_STR, true},  {"dirs[].controllers", JSON_STR, true},
};

void cgroup_free(struct cgroup *c)
{
	for (unsigned i = 0; i < c->cnt; i++) {
		free(c->dir[i].mount);
		free(c->dir[i].path);
		free(c->dir[i].keep);
		free(c->dir[i].controllers);
	}
	free(c->slice);
	free(c->unit);
	memset(c, 0, sizeof(*c));
}

struct json_object *cgroup_to_json(const struct cgroup *c)
{
	struct json_object *o, *dirs;

	if (!c->version)
		return NULL;
	o = json_object_new_object();
	dirs = json_object_new_array();
	json_add_i64(o, "version", c->version);
	json_add_str(o, "slice", c->slice);
	json_add_str(o, "unit", c->unit);
	for (unsigned i = 0; i < c->cnt; i++) {
		struct json_object *d = json_object_new_object();

		json_add_str(d, "mount", c->dir[i].mount);
		json_add_str(d, "path", c->dir[i].path);
		json_add_str(d, "keep", c->dir[i].keep);
		json_add_str(d, "controllers", c->dir[i].controllers);
		(void)json_object_array_add(dirs, d);
	}
	(void)json_object_object_add(o, "dirs", dirs);
	return o;
}

/* Is @path @parent or below it? */
static bool is_below(const char *path, const char *parent)
{
	size_t n = strlen(parent);

	return n && !strncmp(path, parent, n) && (!path[n] || path[n] == '/');
}

static int add_dir(struct cgroup *c, const char *mount, const char *path, const char *keep,
		   const char *controllers)
{
	struct cgroup_dir *d = &c->dir[c->cnt++];

	d->mount = strdup(mount);
	d->path = strdup(path);
	d->keep = strdup(keep);
	d->controllers = strdup(controllers);
	return d->mount && d->path && d->keep && d->controllers ? 0 : -ENOMEM;
}

int cgroup_from_json(struct cgroup *ret, struct json_object *o, struct err *e)
{
	struct json_object *dirs = json_at(o, "dirs");
	const char *unit = json_str(o, "unit", NULL);
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (!o)
		return 0;
	rc = json_check(o, "cgroup", rules, ARRAY_LEN(rules), e);
	if (rc < 0)
		return rc;
	ret->version = (unsigned)json_i64(o, "version", 0);
	if (ret->version < 1 || ret->version > 2 ||
	    json_object_array_length(dirs) > CGROUP_DIRS_MAX || !json_object_array_length(dirs))
		return err_set(e, -EINVAL, "cgroup: neither v1 nor v2");
	for (size_t i = 0; i < json_object_array_length(dirs); i++) {
		struct json_object *d = json_object_array_get_idx(dirs, i);
		const char *mount = json_str(d, "mount", ""), *path = json_str(d, "path", ""),
			   *keep = json_str(d, "keep", "");

		if (mount[0] != '/' || !is_below(path, mount) || !is_below(keep, mount) ||
		    !strcmp(path, mount) || strlen(path) >= PATH_MAX - 32 || strstr(path, "/../")) {
			cgroup_free(ret);
			return err_set(e, -EINVAL, "cgroup: '%.200s' is none of a container", path);
		}
		rc = add_dir(ret, mount, path, keep, json_str(d, "controllers", ""));
		if (rc < 0)
			break;
	}
	if (rc == 0 && unit) {
		ret->unit = strdup(unit);
		ret->slice = strdup(json_str(o, "slice", ""));
		rc = ret->unit && ret->slice ? 0 : -ENOMEM;
	}
	if (rc < 0) {
		cgroup_free(ret);
		return err_set(e, rc, "cgroup: out of memory");
	}
	return 0;
}

/* ---- where ----------------------------------------------------------------------------------- */

static int read_host(struct cgpath_host **ret, struct err *e)
{
	auto_free char *mounts = NULL;
	auto_free char *own = NULL;
	struct cgpath_host *h;
	int rc = fd_read_file(AT_FDCWD, "/proc/self/mountinfo", PROC_MAX, &mounts, NULL);

	if (rc == 0)
		rc = fd_read_file(AT_FDCWD, "/proc/self/cgroup", PROC_MAX, &own, NULL);
	if (rc < 0)
		return err_sys(e, rc, "cgroups of this host");
	h = malloc(sizeof(*h));
	if (!h)
		return err_set(e, -ENOMEM, "out of memory");
	cgpath_host_parse(h, mounts, own);
	if (!h->version) {
		free(h);
		return err_set(e, -ENOTSUP,
			       "linux.cgroupsPath: no cgroup file system is mounted on this host");
	}
	*ret = h;
	return 0;
}

/* Are there processes in it or, with v2, below it? */
static bool is_populated(const char *dir, bool v2)
{
	auto_free char *text = NULL;
	char file[PATH_MAX];

	if ((size_t)snprintf(file, sizeof(file), "%s/%s", dir,
			     v2 ? "cgroup.events" : "cgroup.procs") >= sizeof(file) ||
	    fd_read_file(AT_FDCWD, file, 1 << 20, &text, NULL) < 0)
		return false;
	return v2 ? strstr(text, "populated 1") != NULL : *text != '\0';
}

static int resolve_dir(struct cgroup *ret, const struct cgpath *p, const struct cgpath_mount *m,
		       struct err *e)
{
	char path[PATH_MAX - 32], keep[PATH_MAX], *at;
	struct stat st;

	if (cgpath_dir(p, m, path, sizeof(path)) < 0)
		return err_set(e, -ENAMETOOLONG, "linux.cgroupsPath: too long");
	if (is_populated(path, !m->controllers[0]))
		return err_set(e, -EBUSY,
			       "linux.cgroupsPath: cgroup %s has processes in it already", path);
	(void)snprintf(keep, sizeof(keep), "%s", path);
	/* Slices are systemd's to remove. */
	if (p->unit[0] && (at = strrchr(keep, '/')))
		*at = '\0';
	else
		while (stat(keep, &st) < 0 && (at = strrchr(keep, '/')) &&
		       (size_t)(at - keep) >= strlen(m->point))
			*at = '\0';
	if (add_dir(ret, m->point, path, keep, m->controllers) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

int cgroup_resolve(struct cgroup *ret, const struct spec *s, const char *id, bool systemd,
		   struct err *e)
{
	auto_free struct cgpath_host *h = NULL;
	struct cgpath p;
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (systemd && !scope_possible())
		return err_set(e, -ENOTSUP,
			       "--systemd-cgroup: systemd is not the init of this host");
	rc = cgpath_parse(&p, s->cgroups_path, id, systemd, e);
	if (rc < 0 || !p.path[0])
		return rc;
	rc = read_host(&h, e);
	for (unsigned i = 0; rc == 0 && i < h->cnt; i++)
		rc = resolve_dir(ret, &p, &h->m[i], e);
	if (rc == 0 && p.unit[0]) {
		ret->unit = strdup(p.unit);
		ret->slice = strdup(p.slice);
		if (!ret->unit || !ret->slice)
			rc = err_set(e, -ENOMEM, "out of memory");
	}
	if (rc < 0) {
		cgroup_free(ret);
		return rc;
	}
	ret->version = h->version;
	return 0;
}

/* ---- limits ---------------------------------------------------------------------------------- */

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

struct applying {
	const struct cgroup *c;
	char deferred[32]; /* a memory limit of v1 that its sum with swap has to make way for */
	struct err *e;
};

/* The hierarchy of a file: by its controller with v1, the only one with v2. */
static const struct cgroup_dir *dir_of(const struct cgroup *c, const char *file)
{
	size_t n = strcspn(file, ".");

	for (unsigned i = 0; i < c->cnt; i++) {
		const char *list = c->dir[i].controllers;

		if (c->version == 2 && !*list)
			return &c->dir[i];
		while (c->version == 1 && *list) {
			size_t len = strcspn(list, ",");

			if (len == n && !strncmp(list, file, n))
				return &c->dir[i];
			list += len + (list[len] == ',');
		}
	}
	return NULL;
}

static int put_limit(void *ctx, const char *file, const char *text)
{
	struct applying *a = ctx;
	const struct cgroup_dir *d = dir_of(a->c, file);
	int rc = d ? put(d->path, file, text) : -ENOENT;

	if (rc == -EINVAL && !strcmp(file, "memory.limit_in_bytes") && !a->deferred[0]) {
		(void)snprintf(a->deferred, sizeof(a->deferred), "%s", text);
		return 0;
	}
	/* The controller is not there, or not on here. */
	if (rc == -ENOENT) {
		log_warn("cgroup %s: no %s on this host: the limit holds inside the guest only",
			 d ? d->path : "", file);
		return 0;
	}
	if (rc < 0)
		return err_sys(a->e, rc, "cgroup %s: %s = '%.100s'", d->path, file, text);
	return 0;
}

static int apply_files(const struct cgroup *c, const struct cglimits *l, struct err *e)
{
	struct applying a = {.c = c, .e = e};
	int rc;

	if (c->version == 1 && l->unified)
		return err_set(e, -ENOTSUP,
			       "linux.resources.unified: this host has cgroup v1, and its keys are "
			       "those of v2");
	if (c->version == 2 && (l->classid || json_len(l->network, "priorities")))
		return err_set(
		    e, -ENOTSUP,
		    "linux.resources.network: this host has cgroup v2, which knows no such "
		    "thing");
	rc = cglimits_files(l, c->version, put_limit, &a);
	if (rc == 0 && a.deferred[0])
		rc = put_limit(&a, "memory.limit_in_bytes", a.deferred);
	return rc;
}

int cgroup_apply(const struct cgroup *c, const struct cglimits *l, struct err *e)
{
	int rc = 0;

	if (!c->version)
		return 0;
	if (c->unit)
		rc = scope_update(c->unit, l, c->version, e);
	return rc < 0 ? rc : apply_files(c, l, e);
}

/* ---- making ---------------------------------------------------------------------------------- */

/* A cpuset of v1 takes nobody before it has CPUs and memory: its parent's. */
static int fill_cpuset(const char *path)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	auto_fd dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_fd parent = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || parent < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		auto_free char *own = NULL;
		auto_free char *parents = NULL;
		int rc = fd_read_file(dir, files[i], 1 << 16, &own, NULL);

		if (rc < 0)
			return rc;
		if (own[strspn(own, " \n")])
			continue;
		rc = fd_read_file(parent, files[i], 1 << 16, &parents, NULL);
		if (rc == 0)
			rc = put(path, files[i], parents);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Turns controllers on for the next cgroup down. What is not there cannot be limited; limits say
 * so when it matters. */
static void enable_controllers(const char *dir)
{
	static const char *const names[] = {"+memory", "+cpu", "+pids", "+io", "+cpuset"};

	for (size_t k = 0; k < ARRAY_LEN(names); k++)
		(void)put(dir, "cgroup.subtree_control", names[k]);
}

/* Makes the directories on the way. */
static int make_dir(const struct cgroup_dir *d, struct err *e)
{
	size_t n = strlen(d->path), from = strlen(d->mount);
	bool cpuset = strstr(d->controllers, "cpuset") != NULL;
	char buf[PATH_MAX];

	memcpy(buf, d->path, n + 1);
	for (size_t i = from; i <= n; i++) {
		if (buf[i] != '/' && buf[i])
			continue;
		buf[i] = '\0';
		if (i > from && mkdir(buf, 0755) < 0 && errno != EEXIST)
			return err_sys(e, -errno, "making cgroup %s", buf);
		if (i > from && cpuset) {
			int rc = fill_cpuset(buf);

			if (rc < 0)
				return err_sys(e, rc, "cpuset of cgroup %s", buf);
		}
		if (i < n) {
			if (!d->controllers[0])
				enable_controllers(buf);
			buf[i] = '/';
		}
	}
	return 0;
}

int cgroup_join(const struct cgroup *c, pid_t pid)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	for (unsigned i = 0; i < c->cnt; i++) {
		int rc = put(c->dir[i].path, "cgroup.procs", text);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* systemd decides where a unit is; what it says and what we have worked out has to agree. */
static int check_placed(const struct cgroup *c, struct err *e)
{
	auto_free char *procs = NULL;
	char file[PATH_MAX], line[24];
	const struct cgroup_dir *d = &c->dir[0];

	for (unsigned i = 0; i < c->cnt; i++)
		if (!c->dir[i].controllers[0] || !strcmp(c->dir[i].controllers, "name=systemd"))
			d = &c->dir[i];
	(void)snprintf(file, sizeof(file), "%s/cgroup.procs", d->path);
	(void)snprintf(line, sizeof(line), "%d\n", (int)getpid());
	if (fd_read_file(AT_FDCWD, file, 1 << 20, &procs, NULL) < 0 || !strstr(procs, line))
		return err_set(e, -ENOENT, "scope %s: systemd did not put it in %s", c->unit,
			       d->path);
	return 0;
}

int cgroup_enter(const struct cgroup *c, const char *id, const struct cglimits *l, struct err *e)
{
	int rc = 0;

	if (c->unit) {
		rc = scope_start(c->slice, c->unit, id, l, c->version, getpid(), e);
		if (rc == 0)
			rc = check_placed(c, e);
	}
	/* systemd leaves some hierarchies of v1 alone: those are made as without it. */
	for (unsigned i = 0; rc == 0 && i < c->cnt; i++)
		if (!c->unit || c->dir[i].controllers[0])
			rc = make_dir(&c->dir[i], e);
	if (rc == 0)
		rc = apply_files(c, l, e);
	for (unsigned i = 0; rc == 0 && i < c->cnt; i++) {
		rc = put(c->dir[i].path, "cgroup.procs", "0");
		/* The part of v2 on a host of v1, when the scope is not in it. */
		if (rc == -ENOENT && c->unit && c->version == 1 && !c->dir[i].controllers[0])
			rc = 0;
		if (rc < 0)
			return err_sys(e, rc, "entering cgroup %s", c->dir[i].path);
	}
	return rc;
}
