/* SPDX-License-Identifier: Apache-2.0 */
/* Names of cgroups. See cgpath.h. */
#include "runtime/cgpath.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/mountinfo.h"

#define WHAT "linux.cgroupsPath"

/* systemd.unit(5), "valid unit names" */
static const char unit_chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				 "0123456789:-_.\\";

int cgpath_of_slice(const char *slice, char *buf, size_t len, struct err *e)
{
	size_t n = strlen(slice), used = 0;
	const char *stem_end = n > 6 ? slice + n - 6 : slice;

	buf[0] = '\0';
	if (!strcmp(slice, "-.slice"))
		return 0;
	if (n <= 6 || n >= 256 || strcmp(stem_end, ".slice") != 0 ||
	    strspn(slice, unit_chars) != n || slice[0] == '-' || stem_end[-1] == '-' ||
	    strstr(slice, "--"))
		return err_set(e, -EINVAL, WHAT ": '%.100s' is not the name of a slice", slice);
	for (const char *p = slice; p <= stem_end; p++) {
		if (*p != '-' && p != stem_end)
			continue;
		used += (size_t)snprintf(buf + used, len - used, "/%.*s.slice", (int)(p - slice),
					 slice);
		if (used >= len)
			return err_set(e, -ENAMETOOLONG, WHAT ": the slice's path is too long");
	}
	return 0;
}

static int parse_systemd(struct cgpath *r, const char *text, const char *id, struct err *e)
{
	const char *first = strchr(text, ':'), *second = first ? strchr(first + 1, ':') : NULL;
	const char *prefix = "", *name = id;
	char dir[PATH_MAX / 2];
	size_t prefix_len, slice_len;
	int n, rc;

	if (!*text) {
		first = second = text;
		prefix = "husk";
		prefix_len = 4;
	} else if (!second || strchr(text, '/')) {
		return err_set(e, -EINVAL,
			       WHAT ": '%.200s' has not the form slice:prefix:name, which the "
				    "systemd driver needs",
			       text);
	} else {
		prefix = first + 1;
		prefix_len = (size_t)(second - prefix);
		name = second + 1;
	}
	slice_len = (size_t)(first - text);
	if (slice_len >= sizeof(r->slice))
		return err_set(e, -EINVAL, WHAT ": the slice's name is too long");
	(void)snprintf(r->slice, sizeof(r->slice), "%.*s", (int)slice_len, text);
	if (!slice_len)
		(void)snprintf(r->slice, sizeof(r->slice), "system.slice");
	n = snprintf(r->unit, sizeof(r->unit), "%.*s%s%s.scope", (int)MIN(prefix_len, 256), prefix,
		     prefix_len ? "-" : "", name);
	if ((size_t)n >= sizeof(r->unit))
		return err_set(e, -EINVAL, WHAT ": the unit's name is longer than 255 characters");
	if (!*name || strspn(r->unit, unit_chars) != strlen(r->unit))
		return err_set(e, -EINVAL, WHAT ": '%.200s' is not the name of a unit of systemd",
			       r->unit);
	rc = cgpath_of_slice(r->slice, dir, sizeof(dir), e);
	if (rc < 0)
		return rc;
	if ((size_t)snprintf(r->path, sizeof(r->path), "%.1700s/%s", dir, r->unit) >=
	    sizeof(r->path))
		return err_set(e, -ENAMETOOLONG, WHAT ": too long");
	return 0;
}

int cgpath_parse(struct cgpath *ret, const char *text, const char *id, bool systemd, struct err *e)
{
	size_t used = 0;

	memset(ret, 0, sizeof(*ret));
	if (systemd)
		return parse_systemd(ret, text ? text : "", id, e);
	if (!text)
		return 0;
	if (text[0] != '/' && strchr(text, ':') && !strchr(text, '/'))
		return err_set(e, -EINVAL,
			       WHAT ": '%.200s' has the form of systemd, and --systemd-cgroup is "
				    "not given",
			       text);
	ret->relative = text[0] != '/';
	/* Without doubled and trailing slashes, and without what leads up. */
	for (const char *p = text; *p;) {
		size_t skip = strspn(p, "/"), n = strcspn(p + skip, "/");

		p += skip;
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return err_set(e, -EINVAL, WHAT ": '%.200s' has '..' in it", text);
		if (n > 255 || strpbrk(p, "\n") != NULL)
			return err_set(e, -EINVAL, WHAT ": not a path of cgroups");
		if (n && !(n == 1 && p[0] == '.')) {
			if (used + n + 2 > sizeof(ret->path))
				return err_set(e, -ENAMETOOLONG, WHAT ": too long");
			ret->path[used] = '/';
			memcpy(ret->path + used + 1, p, n);
			used += n + 1;
		}
		p += n;
	}
	ret->path[used] = '\0';
	return used ? 0 : err_set(e, -EINVAL, WHAT ": '%.20s' is the root cgroup", text);
}

/* ---- the host -------------------------------------------------------------------------------- */

static bool is_controller(const char *w, size_t n)
{
	static const char *const known[] = {
	    "cpuset",  "cpu",	   "cpuacct", "blkio",	    "memory", "devices", "freezer",
	    "net_cls", "net_prio", "hugetlb", "perf_event", "pids",   "rdma",	 "misc"};

	if (n > 5 && !strncmp(w, "name=", 5))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strlen(known[i]) == n && !strncmp(known[i], w, n))
			return true;
	return false;
}

/* Of "rw,cpu,cpuacct,xattr" the controllers. False when they do not fit. */
static bool controllers_of(const char *opts, size_t len, char *buf, size_t cap)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < len;) {
		const char *w = opts + i;
		const char *comma = memchr(w, ',', len - i);
		size_t n = comma ? (size_t)(comma - w) : len - i;

		if (is_controller(w, n)) {
			if (used + n + 2 > cap)
				return false;
			used += (size_t)snprintf(buf + used, cap - used, "%s%.*s", used ? "," : "",
						 (int)n, w);
		}
		i += n + 1;
	}
	return true;
}

/* The next word of a line; false at its end. */
static bool is_cgroup(const struct mountinfo *i, struct cgpath_mount *m)
{
	m->controllers[0] = '\0';
	if (!strcmp(i->type, "cgroup")) {
		if (!controllers_of(i->super, i->super_len, m->controllers,
				    sizeof(m->controllers)) ||
		    !m->controllers[0])
			return false;
	} else if (strcmp(i->type, "cgroup2") != 0) {
		return false;
	}
	if (strlen(i->root) >= sizeof(m->root) || strlen(i->point) >= sizeof(m->point))
		return false;
	memcpy(m->root, i->root, strlen(i->root) + 1);
	memcpy(m->point, i->point, strlen(i->point) + 1);
	return true;
}

static bool has_controller(const char *list, const char *w, size_t n)
{
	for (const char *p = list; *p;) {
		size_t len = strcspn(p, ",");

		if (len == n && !strncmp(p, w, n))
			return true;
		p += len + (p[len] == ',');
	}
	return false;
}

/* "4:cpu,cpuacct:/a", "0::/b": the caller's cgroup in the hierarchy of @m, as that mount shows it. */
static void find_own(struct cgpath_mount *m, const char *own)
{
	size_t root = strlen(m->root);

	(void)snprintf(m->own, sizeof(m->own), "/");
	for (const char *p = own; *p;) {
		size_t line = strcspn(p, "\n");
		const char *a = memchr(p, ':', line);
		const char *b = a ? memchr(a + 1, ':', (size_t)(p + line - a - 1)) : NULL;

		if (b) {
			size_t n = (size_t)(b - a - 1);
			const char *path = b + 1;
			size_t len = (size_t)(p + line - path);

			if (m->controllers[0] ? n && has_controller(m->controllers, a + 1,
								    MIN(n, strcspn(a + 1, ",:")))
					      : n == 0) {
				/* Below a mount of a part, the part's name is not seen. */
				if (root > 1 && len >= root && !strncmp(path, m->root, root) &&
				    (len == root || path[root] == '/')) {
					path += root;
					len -= root;
				}
				if (len && len < sizeof(m->own))
					(void)snprintf(m->own, sizeof(m->own), "%.*s", (int)len,
						       path);
				return;
			}
		}
		p += line + (p[line] == '\n');
	}
}

void cgpath_host_parse(struct cgpath_host *ret, const char *mountinfo, const char *own)
{
	struct mountinfo info;
	bool v1 = false;

	memset(ret, 0, sizeof(*ret));
	while (ret->cnt < CGPATH_MOUNTS_MAX && mountinfo_next(&mountinfo, &info)) {
		struct cgpath_mount *m = &ret->m[ret->cnt];
		bool known = false;

		if (!is_cgroup(&info, m))
			continue;
		for (unsigned i = 0; i < ret->cnt; i++)
			known |= !strcmp(ret->m[i].controllers, m->controllers);
		if (known)
			continue;
		find_own(m, own);
		v1 |= m->controllers[0] && strncmp(m->controllers, "name=", 5) != 0;
		ret->cnt++;
	}
	if (ret->cnt)
		ret->version = v1 ? 1 : 2;
}

int cgpath_dir(const struct cgpath *p, const struct cgpath_mount *m, char *buf, size_t len)
{
	size_t own = p->relative ? strlen(m->own) : 0;

	if (p->relative && !m->controllers[0]) {
		/* A v2 cgroup with processes has no limited children: beside it, not below. */
		while (own && m->own[own - 1] != '/')
			own--;
	}
	while (own && m->own[own - 1] == '/')
		own--;
	return (size_t)snprintf(buf, len, "%s%.*s%s", m->point, (int)own, m->own, p->path) >= len
		   ? -ENAMETOOLONG
		   : 0;
}
